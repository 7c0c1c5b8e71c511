// The texts of one batch on their way through the gateway; internal to gateway.cpp and the embed_job*.cpp.
#pragma once

#include <atomic>
#include <deque>
#include <memory>
#include <span>

#include "reconcilers/gateway/blame.hpp"
#include "reconcilers/gateway/embed_operation.hpp"
#include "reconcilers/gateway/gateway.hpp"
#include "reconcilers/gateway/remainders.hpp"

namespace homeostat {

class Wake;

class EmbedJob {
public:
    EmbedJob(Gateway& gateway, std::vector<Gateway::ChannelPtr> channels, EmbedOrder order, const std::vector<std::string>& texts,
             Context context);

    // What was got before an error stopped it is paid for: it is handed out with the error.
    struct Outcome {
        Embedded embedded;
        std::vector<bool> placed;  // by text: its row is its vector
        Spending spent;
        std::optional<Error> error;
    };
    boost::asio::awaitable<Outcome> run() EXCLUDES(mutex_);

private:
    using Part = std::vector<std::size_t>;  // indexes of texts
    using ChannelPtr = Gateway::ChannelPtr;

    // How one request went, however often it was sent.
    struct Asked {
        Result<Embeddings> answer = internal_error("nothing was asked");
        ChannelPtr channel;      // that failed
        int failures = 0;        // in the same way, one after the other
        SteadyTime sent_at{};
        SteadyTime failed_at{};
    };
    // What is known of a part that failed: the last that was said of it, and who said it.
    struct Refusal {
        Error error;
        ChannelPtr channel;
        SteadyTime sent_at{};
        SteadyTime at{};
        Evidence evidence;
    };

    // Whether requests may be shared with other jobs. Not where one of the texts has been refused: it may be at fault.
    enum class Sharing : std::uint8_t { no, yes };
    // What is still to be asked for.
    struct Pending {
        Mutex mutex;
        std::deque<Part> parts GUARDED_BY(mutex);
        Part rest GUARDED_BY(mutex);
        std::size_t next GUARDED_BY(mutex) = 0;  // of the rest
        Sharing sharing = Sharing::no;  // of the rest
        bool begun GUARDED_BY(mutex) = false;  // other texts of the job were asked for, and are waited for in any case
        std::size_t under_way GUARDED_BY(mutex) = 0;  // requests
        SteadyTime ended_at GUARDED_BY(mutex) = SteadyTime::min();  // the last of them
        std::shared_ptr<Wake> waits GUARDED_BY(mutex);  // whoever has put the last of the rest into the queue
    };
    // The next request, or what waits in the queue instead; all empty where nothing is left.
    struct Request {
        Part own;
        TakenRemainders others;
        RemainderPtr offered;
    };

    // What halving has found out.
    struct Sizes {
        std::size_t refused = 0;  // texts of the smallest request that was
        std::size_t passed = 0;   // of the largest that was answered
        int refusals = 1;         // of requests of more than one
    };

    // All of a part: placed, refused, or the error that stopped it.
    boost::asio::awaitable<Status> solve(Part part);
    boost::asio::awaitable<Status> solve_in_turn(Part all);
    bool is_trial(const Part& part, bool last) const;
    boost::asio::awaitable<Status> isolate(Part part, Refusal refusal);
    // Whether a part of what was refused is taken.
    boost::asio::awaitable<Result<bool>> try_part(const Part& part, Refusal& refusal, Sizes& sizes);
    boost::asio::awaitable<Status> judge(std::size_t index, Refusal refusal, bool& taken);
    // Asks for less and less of a text that is too long; true once its vector is placed.
    boost::asio::awaitable<Result<bool>> shorten(std::size_t index, Refusal& refusal);
    std::string text_now(std::size_t index) EXCLUDES(mutex_);
    // Whether the provider has taken a text since then; it is asked for one that it should take, where it has not.
    boost::asio::awaitable<Status> vouch(Refusal refusal);
    // Side by side, `parts` as they are, `rest` cut when its turn comes.
    boost::asio::awaitable<Status> solve_all(std::vector<Part> parts, Part rest = {}, Sharing sharing = Sharing::no);
    boost::asio::awaitable<void> solve_pending(Status& out, std::shared_ptr<Pending> pending, std::function<void()> done);
    // Until another job has asked for it; or it is given back to what is pending, to be asked for now.
    boost::asio::awaitable<Status> solve_offered(Pending& pending, Request request, std::shared_ptr<Wake> bell);
    boost::asio::awaitable<Status> solve_together(Part own, TakenRemainders others);
    // Ends the others; what is left is the job's own.
    Embeddings hand_out(const Part& own, const TakenRemainders& others, const Embeddings& answer) const;
    boost::asio::awaitable<void> take_in(const Part& own, const Embeddings& answer);
    // One request, sent again or elsewhere where that helps: at most twice, where it fails in the same way; `once` never again.
    boost::asio::awaitable<Asked> call(const Part& part, bool once);
    boost::asio::awaitable<Asked> call_in(EmbedOperation& operation, const Part& part, bool once);
    boost::asio::awaitable<Asked> send(EmbedOperation& operation, ChannelPtr channel, const Part& part);
    static void again(Refusal& refusal, Asked& asked);
    boost::asio::awaitable<Status> pause(Duration length);

    ChannelPtr choose(const std::set<std::string>& without);
    RequestRoom sizes() const;
    std::vector<Part> cut(const Part& part) const;
    Request take(Pending& pending, const std::shared_ptr<Wake>& bell) const;
    Duration company_in(const Pending& pending) const REQUIRES(pending.mutex);
    Request share(std::span<const std::size_t> rest, RequestRoom most, bool may_wait, const std::shared_ptr<Wake>& bell) const;
    void end_request(Pending& pending) const;
    std::vector<std::string> texts_of(const Part& part) const;
    std::uint64_t tokens_of(const Part& part) const;
    std::vector<std::uint64_t> weights(const Part& own, const TakenRemainders& others) const;
    std::size_t most_at_once() const;
    void place(const Part& part, const Embeddings& answer) EXCLUDES(mutex_);
    void refuse(std::size_t index, const Error& error) EXCLUDES(mutex_);
    void note_wasted(std::uint64_t tokens, std::int64_t provider) EXCLUDES(mutex_);
    bool to_be_cut(const Part& part, const Error& error) const;

    Gateway& gateway_;
    const std::vector<ChannelPtr> channels_;
    const EmbedOrder order_;
    const std::vector<std::string>& texts_;
    const Context context_;
    std::vector<SpanContext> links_;  // of those whose texts go with these
    std::vector<std::uint64_t> tokens_;  // estimated, a text
    std::atomic<bool> failed_{false};  // what has not begun need not begin
    Mutex mutex_;
    Embedded result_ GUARDED_BY(mutex_);
    std::vector<bool> placed_ GUARDED_BY(mutex_);
    std::map<std::size_t, std::string> shortened_ GUARDED_BY(mutex_);
    std::string chosen_ GUARDED_BY(mutex_);
    Spending spent_ GUARDED_BY(mutex_);
};

}  // namespace homeostat
