// How large a request may be: what is declared, and what is learnt from refusals and from how long answers take.
//
// Endpoints have limits that nobody declares (inputs a request, tokens or bytes a request). A first request of a size is sent
// alone; where it is refused the limit is read from the message, if it says one, or found by cutting ever deeper (1/2, 1/4, 1/8),
// so that three refusals are enough for any limit down to a sixty-fourth; what was cut too deep for that grows again, half the
// way to what was refused at a time. What is learnt is kept. A limit of one text teaches nothing. And what would not be answered
// well within the timeout is not asked: a request that ran into it is halved, and requests grow again with quick answers. Pure;
// not thread-safe.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/clock.hpp"

namespace homeostat {

class RequestLimits {
public:
    // `timeout` of a request; zero where the time that answers take says nothing (as in this process).
    explicit RequestLimits(std::uint32_t declared_texts, Duration timeout = {});

    // At most, for the next request. max_tokens() is 0 where no limit is known.
    std::uint32_t max_texts() const noexcept;
    std::uint64_t max_tokens() const noexcept { return tokens_; }
    std::uint32_t learnt_texts() const noexcept { return texts_; }  // 0 = nothing learnt
    std::uint32_t learnt_pace() const noexcept { return paced_ ? static_cast<std::uint32_t>(pace_) : 0; }  // likewise

    // A request no larger than this has been answered before.
    bool proven(std::size_t texts, std::uint64_t tokens) const noexcept;
    // Larger than what is known to be taken: not worth sending.
    bool over(std::size_t texts, std::uint64_t tokens) const noexcept;
    // True where a limit is another now.
    bool accepted(std::size_t texts, std::uint64_t tokens) noexcept;
    // Learns from a refusal and what the endpoint said, in its own words. True where a limit is another now.
    bool refused(std::size_t texts, std::uint64_t tokens, std::uint64_t bytes, std::string_view said);
    // More texts than `passed` are refused without a word of a limit, though each of them is taken. True where that is news. Not
    // `sure`: it may have been chance, once.
    bool found(std::size_t refused, std::size_t passed, bool sure) noexcept;
    // As another process, or this one earlier, has learnt. 0 = nothing.
    void restore(std::uint32_t texts, std::uint64_t tokens, std::uint32_t pace) noexcept;
    void answered(std::size_t texts, Duration took) noexcept;
    void timed_out(std::size_t texts) noexcept;
    // How much is answered within the timeout is not known yet, or was more than was thought.
    bool pace_unknown() const noexcept { return timed_ && quick_ && pace_ < declared_; }

private:
    // A limit that nobody has named lies between these. `refused` 0: there is none.
    struct Guess {
        std::uint64_t passed = 0;
        std::uint64_t refused = 0;

        std::uint64_t after_refusal(std::uint64_t size, std::uint64_t depth) noexcept;
        // The limit to try after an answer to `size`, where `limit` was filled.
        std::uint64_t after_answer(std::uint64_t size, std::uint64_t limit, bool dear) noexcept;
    };
    bool take_back() noexcept;

    const std::uint32_t declared_;
    std::uint32_t texts_ = 0;
    std::uint64_t tokens_ = 0;
    const bool timed_;
    const Duration target_;  // of an answer, at most
    double pace_;  // texts that are answered within it
    bool paced_ = false;  // by answers, and not only thought
    bool quick_ = true;  // the last answer took no longer than that, or there was none
    int refusals_ = 0;  // that named no number
    std::uint32_t texts_before_ = 0;  // the first of them
    std::uint64_t tokens_before_ = 0;
    Guess guessed_texts_;
    Guess guessed_tokens_;
    bool suspected_ = false;  // a limit that may have been chance
    std::optional<std::uint64_t> tokens_undoubted_;  // before a limit that may have been one of a text
    std::size_t proven_texts_ = 0;
    std::uint64_t proven_tokens_ = 0;
};

// The texts in order, cut into requests within the limits. `tokens` has one entry a text; a text over the limit goes alone.
std::vector<std::vector<std::size_t>> cut_requests(std::span<const std::size_t> texts, std::span<const std::uint64_t> tokens,
                                                   std::uint32_t max_texts, std::uint64_t max_tokens);

}  // namespace homeostat
