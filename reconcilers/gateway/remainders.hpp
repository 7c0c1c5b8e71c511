// What batches have left over where their texts do not fill whole requests: it waits for company, so that one request asks for
// the remainders of several batches. One queue a channel: all that is in it has the same declaration of the provider (credential,
// members of the request), model, width and kind of text.
//
// A remainder is in the queue until it is withdrawn by its own job or taken by another, and who took it ends it, once, whatever
// becomes of the request. So no text is asked for twice or forgotten. Any thread; no lock is held across a request.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/context.hpp"
#include "core/error.hpp"
#include "core/sync.hpp"
#include "reconcilers/embed/embedder.hpp"

namespace homeostat {

// What came of the request that a remainder went with.
struct RemainderEnd {
    std::optional<Result<Embeddings>> answer;  // absent: it is to be asked for alone, so that no other's fault is its own
    std::uint64_t wasted = 0;  // its share, in tokens
};

class Remainder {
public:
    // `channels`: all that the job may ask; the job keeps them for as long as this is in the queue. `ring` tells it of the end.
    Remainder(std::vector<const void*> channels, std::vector<std::string> texts, std::uint64_t tokens, Context context,
              std::function<void()> ring);

    const std::vector<std::string>& texts() const noexcept { return texts_; }
    std::uint64_t tokens() const noexcept { return tokens_; }  // estimated
    const Context& context() const noexcept { return context_; }

    // The first end is the one that counts.
    void end(RemainderEnd end) EXCLUDES(mutex_);
    std::optional<RemainderEnd> take_end() EXCLUDES(mutex_);

private:
    friend class Remainders;
    const std::vector<const void*> channels_;
    const std::vector<std::string> texts_;
    const std::uint64_t tokens_;
    const Context context_;
    const std::function<void()> ring_;
    Mutex mutex_;
    bool ended_ GUARDED_BY(mutex_) = false;
    std::optional<RemainderEnd> end_ GUARDED_BY(mutex_);
};
using RemainderPtr = std::shared_ptr<Remainder>;

// Those that were taken to be asked for; what has not ended when this goes is asked for alone.
class TakenRemainders {
public:
    TakenRemainders() = default;
    explicit TakenRemainders(std::vector<RemainderPtr> all) : all_(std::move(all)) {}
    TakenRemainders(TakenRemainders&&) noexcept = default;
    TakenRemainders& operator=(TakenRemainders&& other) noexcept;
    ~TakenRemainders() { let_go(); }
    void let_go() noexcept;
    const std::vector<RemainderPtr>& all() const noexcept { return all_; }
    bool empty() const noexcept { return all_.empty(); }

private:
    std::vector<RemainderPtr> all_;
};

// Texts and tokens of a request, at most; tokens 0 = any.
struct RequestRoom {
    std::uint32_t texts = 0;
    std::uint64_t tokens = 0;
};

class Remainders {
public:
    // A job that is about to ask for the first of these texts.
    struct Wanted {
        const void* job = nullptr;
        const std::vector<const void*>& channels;
        std::span<const std::uint64_t> tokens;  // of each text that it has not asked for yet, in order; at least one
        RequestRoom room;
        bool may_wait = false;
        SteadyTime now{};
    };
    // The request: so many of its own texts, with what others have left over. 0: all of its own wait in the queue, as offered.
    struct Cut {
        std::size_t own = 0;
        TakenRemainders others;
    };
    // Others go with it where that makes no request more of the job's own texts. The last of them wait where they may and the
    // request would be far from full; unless there is so much in the queue that all together is more than one request.
    Cut cut(const Wanted& wanted, const std::function<RemainderPtr()>& offer) EXCLUDES(mutex_);
    // True where it had not been taken: it is its job's again.
    bool withdraw(const RemainderPtr& remainder) EXCLUDES(mutex_);
    std::size_t waiting() const EXCLUDES(mutex_);
    // When another than this job asked for anything last.
    SteadyTime others_asked(const void* job) const EXCLUDES(mutex_);

private:
    struct Fill {
        std::size_t texts = 0;
        std::uint64_t tokens = 0;
    };
    using Fits = std::function<bool(const Fill&)>;
    std::vector<RemainderPtr> pick(const Wanted& wanted, const Fits& fits, Fill& fill) const REQUIRES(mutex_);
    void note(const void* job, SteadyTime now) REQUIRES(mutex_);

    mutable Mutex mutex_;
    std::deque<RemainderPtr> waiting_ GUARDED_BY(mutex_);
    const void* newest_ GUARDED_BY(mutex_) = nullptr;  // job that asked last; it is only compared
    SteadyTime newest_at_ GUARDED_BY(mutex_) = SteadyTime::min();
    SteadyTime before_at_ GUARDED_BY(mutex_) = SteadyTime::min();  // another than that did last
};

// Each part's share of a whole, in proportion to its weight; together exactly the whole.
std::vector<std::uint64_t> shares_of(std::uint64_t whole, std::span<const std::uint64_t> weights);

}  // namespace homeostat
