// Pauses of a command that looks again and again: SIGINT and SIGTERM are not delivered while one of these lives; they end a pause
// instead, so that the command says what it has to say and ends with a code of its own. One thread.
#pragma once

#include <chrono>
#include <memory>

namespace homeostat {

class Interruption {
public:
    Interruption();
    ~Interruption();
    Interruption(const Interruption&) = delete;
    Interruption& operator=(const Interruption&) = delete;

    // False where a signal came, also one that came before the pause.
    bool pause(std::chrono::milliseconds length) const;

private:
    struct Masks;
    std::unique_ptr<Masks> masks_;
};

}  // namespace homeostat
