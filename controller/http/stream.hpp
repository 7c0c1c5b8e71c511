// What one client is sent for as long as it listens: events, a piece at a time. Whoever has something to say calls send(); the
// connection takes it. A client that does not keep up is let go rather than waited for: what it has not taken is bounded, and it
// asks again from where it was. Safe from any thread.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "core/sync.hpp"

namespace homeostat {

class HttpStream {
public:
    static constexpr std::size_t kMostBytes = 256 * 1024;  // that wait to be taken

    // False where the client is gone or has not kept up: nothing more will reach it.
    bool send(std::string_view text) EXCLUDES(mutex_);
    // What was sent before is still taken.
    void close() EXCLUDES(mutex_);
    bool closed() const EXCLUDES(mutex_);

    // For the connection. All that waits, "" where nothing does; none where it is over.
    std::optional<std::string> take() EXCLUDES(mutex_);
    // Called, on the caller's thread and under no lock of ours, after each send() and close().
    void on_ready(std::function<void()> ready) EXCLUDES(mutex_);

private:
    mutable Mutex mutex_;
    std::string waiting_ GUARDED_BY(mutex_);
    bool closed_ GUARDED_BY(mutex_) = false;
    std::function<void()> ready_ GUARDED_BY(mutex_);
};

}  // namespace homeostat
