// How large a request may be: what is declared, and what is learnt from refusals.
//
// Endpoints have limits that nobody declares (inputs a request, tokens a request). A first request of a size is sent alone; where
// it is refused the limit is read from the message, if it says one, or found by cutting ever deeper (1/2, 1/4, 1/8), so that
// three refusals are enough for any limit down to a sixty-fourth. What is learnt is kept. Pure; not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace homeostat {

class RequestLimits {
public:
    explicit RequestLimits(std::uint32_t declared_texts) : declared_(declared_texts == 0 ? 1 : declared_texts) {}

    // At most, for the next request. max_tokens() is 0 where no limit is known.
    std::uint32_t max_texts() const noexcept;
    std::uint64_t max_tokens() const noexcept { return tokens_; }
    std::uint32_t learnt_texts() const noexcept { return texts_; }  // 0 = nothing learnt

    // A request no larger than this has been answered before.
    bool proven(std::size_t texts, std::uint64_t tokens) const noexcept;
    // Larger than what is known to be taken: not worth sending.
    bool over(std::size_t texts, std::uint64_t tokens) const noexcept;
    void accepted(std::size_t texts, std::uint64_t tokens) noexcept;
    // Learns from a refusal of a request of more than one text. True where a limit is lower now.
    bool refused(std::size_t texts, std::uint64_t tokens, std::string_view error);
    // As another process, or this one earlier, has learnt. 0 = nothing.
    void restore(std::uint32_t texts, std::uint64_t tokens) noexcept;
    // Answers take long: smaller requests for a while. Grows back with quick answers.
    void slow() noexcept;
    void quick() noexcept;

private:
    const std::uint32_t declared_;
    std::uint32_t texts_ = 0;
    std::uint64_t tokens_ = 0;
    double share_ = 1;  // of max_texts, while answers are slow
    int refusals_ = 0;
    std::size_t proven_texts_ = 0;
    std::uint64_t proven_tokens_ = 0;
};

// The texts in order, cut into requests within the limits. `tokens` has one entry a text; a text over the limit goes alone.
std::vector<std::vector<std::size_t>> cut_requests(std::span<const std::size_t> texts, std::span<const std::uint64_t> tokens,
                                                   std::uint32_t max_texts, std::uint64_t max_tokens);

}  // namespace homeostat
