// Lets those in who want to change a pipeline's declaration while many write what was declared.
//
// Whoever writes for a pipeline holds its row and its lease, so that nothing is written under a declaration that has changed. The
// server lets everybody in who may share a row, also while somebody waits to change it: where many write, one after the other,
// there is no moment between them, and `suspend` has waited for half a minute just when it was needed. So a replica that writes
// without pause looks now and then for such waiters, and begins nothing for their pipelines until they have had their turn.
//
// Thread-safe. A hint of this replica: what is written stays right without it, because those who write hold the row.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <stop_token>
#include <utility>

#include "core/clock.hpp"
#include "core/sync.hpp"
#include "store/pg/session.hpp"

namespace homeostat {

class RowTurns {
public:
    // Between looks, while it is written without pause; an edit now and then costs none.
    static constexpr std::chrono::milliseconds kLook{200};
    // A waiter who has not had his turn by then waits for somebody else than us, and is not given way to for a while.
    static constexpr std::chrono::milliseconds kPatience{2'000};
    static constexpr std::chrono::milliseconds kInVain{30'000};

    explicit RowTurns(const Clock& clock) : clock_(clock) {}

    // For as long as the transaction lasts: only so it is known that it is written without pause. Not longer than the RowTurns.
    class Turn {
    public:
        explicit Turn(RowTurns& turns) : turns_(&turns) {}
        ~Turn() {
            if (turns_ != nullptr) turns_->ended();
        }
        Turn(Turn&& other) noexcept : turns_(std::exchange(other.turns_, nullptr)) {}
        Turn(const Turn&) = delete;
        Turn& operator=(const Turn&) = delete;

    private:
        RowTurns* turns_;
    };
    // To be called before each transaction that writes for a pipeline, by the session that will do it. Blocks while somebody
    // waits for the pipeline's row or lease, for kPatience at most. Where it cannot be looked for them, there are none.
    [[nodiscard]] Turn give_way(Session& session, std::int64_t uid, const std::stop_token& stop) EXCLUDES(mutex_);

private:
    static constexpr std::chrono::milliseconds kAgain{15};

    void begin(SteadyTime now) EXCLUDES(mutex_);
    void ended() EXCLUDES(mutex_);
    bool due(SteadyTime now) EXCLUDES(mutex_);
    bool waited_for(std::int64_t uid, SteadyTime now) EXCLUDES(mutex_);
    void look(Session& session) EXCLUDES(mutex_);

    const Clock& clock_;
    Mutex mutex_;
    int under_way_ GUARDED_BY(mutex_) = 0;
    std::optional<SteadyTime> ended_ GUARDED_BY(mutex_);  // when it was last written
    std::optional<SteadyTime> looked_ GUARDED_BY(mutex_);
    std::set<std::int64_t> waited_for_ GUARDED_BY(mutex_);
    std::map<std::int64_t, SteadyTime> in_vain_ GUARDED_BY(mutex_);  // until when nobody gives way
};

}  // namespace homeostat
