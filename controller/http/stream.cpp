#include "controller/http/stream.hpp"

#include <utility>

namespace homeostat {

bool HttpStream::send(std::string_view text) {
    std::function<void()> ready;
    bool good = false;
    {
        const Lock lock(mutex_);
        if (closed_) return false;
        good = waiting_.size() + text.size() <= kMostBytes;
        if (good) {
            waiting_ += text;
        } else {
            closed_ = true;
            waiting_.clear();
        }
        ready = ready_;
    }
    if (ready) ready();
    return good;
}

void HttpStream::close() {
    std::function<void()> ready;
    {
        const Lock lock(mutex_);
        closed_ = true;
        ready = ready_;
    }
    if (ready) ready();
}

bool HttpStream::closed() const {
    const Lock lock(mutex_);
    return closed_;
}

std::optional<std::string> HttpStream::take() {
    const Lock lock(mutex_);
    if (waiting_.empty() && closed_) return std::nullopt;
    return std::exchange(waiting_, {});
}

void HttpStream::on_ready(std::function<void()> ready) {
    const Lock lock(mutex_);
    ready_ = std::move(ready);
}

}  // namespace homeostat
