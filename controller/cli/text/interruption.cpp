#include "controller/cli/text/interruption.hpp"

#include <signal.h>  // NOLINT(modernize-deprecated-headers): sigtimedwait and friends are POSIX

namespace homeostat {

struct Interruption::Masks {
    sigset_t awaited{};
    sigset_t before{};
};

Interruption::Interruption() : masks_(std::make_unique<Masks>()) {
    sigemptyset(&masks_->awaited);
    sigaddset(&masks_->awaited, SIGINT);
    sigaddset(&masks_->awaited, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &masks_->awaited, &masks_->before);
}

Interruption::~Interruption() { pthread_sigmask(SIG_SETMASK, &masks_->before, nullptr); }

bool Interruption::pause(std::chrono::milliseconds length) const {
    const timespec wait{length.count() / 1000, (length.count() % 1000) * 1'000'000};
    return sigtimedwait(&masks_->awaited, nullptr, &wait) < 0;
}

}  // namespace homeostat
