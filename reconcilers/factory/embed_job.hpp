// The texts of one batch on their way through the gateway; internal to gateway.cpp and embed_job.cpp.
#pragma once

#include <atomic>

#include "reconcilers/factory/gateway.hpp"

namespace homeostat {

// The fault is a text's own, or that of its company.
bool of_content(ErrorClass c) noexcept;

class EmbedJob {
public:
    EmbedJob(Gateway& gateway, std::vector<Gateway::ChannelPtr> channels, EmbedOrder order, const std::vector<std::string>& texts,
             Context context);

    // What was got before an error stopped it is paid for: it is handed out with the error.
    struct Outcome {
        Embedded embedded;
        std::vector<bool> placed;  // by text: its row is its vector
        std::optional<Error> error;
    };
    boost::asio::awaitable<Outcome> run() EXCLUDES(mutex_);

private:
    using Part = std::vector<std::size_t>;  // indexes of texts
    using ChannelPtr = Gateway::ChannelPtr;

    // All of a part: placed, refused, or the error that stopped it.
    boost::asio::awaitable<Status> solve(Part part);
    boost::asio::awaitable<Status> isolate(Part part, Error first);
    boost::asio::awaitable<Status> solve_all(std::vector<Part> parts);
    boost::asio::awaitable<void> solve_into(Status& out, Part part, std::function<void()> done);
    // One request, sent again or elsewhere where that helps.
    boost::asio::awaitable<Result<Embeddings>> call(const Part& part);
    boost::asio::awaitable<Result<Embeddings>> send(ChannelPtr channel, const Part& part);
    boost::asio::awaitable<Status> pause(Duration length);

    ChannelPtr choose(const std::set<std::string>& without);
    std::vector<Part> cut(const Part& part) const;
    void place(const Part& part, const Embeddings& answer) EXCLUDES(mutex_);
    Status refuse(std::size_t index, const Error& error) EXCLUDES(mutex_);

    Gateway& gateway_;
    const std::vector<ChannelPtr> channels_;
    const EmbedOrder order_;
    const std::vector<std::string>& texts_;
    const Context context_;
    std::vector<std::uint64_t> tokens_;  // estimated, a text
    std::atomic<bool> failed_{false};    // what has not begun need not begin
    Mutex mutex_;
    Embedded result_ GUARDED_BY(mutex_);
    std::vector<bool> placed_ GUARDED_BY(mutex_);
    bool any_placed_ GUARDED_BY(mutex_) = false;
    std::string chosen_ GUARDED_BY(mutex_);
};

}  // namespace homeostat
