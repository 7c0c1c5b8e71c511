// Embedders turn texts into vectors.
//
// One conformance suite (tests/conformance) runs over every implementation: `local` (in process, real model), `hashing` (in
// process, deterministic) and `openai` (any OpenAI-compatible endpoint). An answer is validated as a whole before it is returned:
// count, order, width, finite, norm above zero. Half an answer is never returned.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/context.hpp"
#include "core/error.hpp"

namespace homeostat {

// Some models embed a search query otherwise than a document; prefixes of the provider are applied by the embedder.
enum class TextRole : std::uint8_t { document, query };

struct Embeddings {
    std::uint32_t dimensions = 0;
    std::vector<float> values;  // row-major: count() rows of `dimensions`
    std::uint64_t tokens = 0;  // as billed, or estimated where the provider does not say
    std::string model;  // as the provider names it
    std::int64_t provider = 0;  // uid, where the gateway asked

    std::size_t count() const noexcept { return dimensions == 0 ? 0 : values.size() / dimensions; }
    const float* row(std::size_t i) const noexcept { return values.data() + i * dimensions; }
};

// What requests have cost, in tokens.
struct Spending {
    std::uint64_t used = 0;  // as billed or estimated
    std::uint64_t wasted = 0;  // asked for, and the answer was late or of no use
    std::uint64_t saved = 0;  // not asked for, because a cache had the vectors; as estimated
    std::map<std::int64_t, std::uint64_t> paid{};  // used and wasted, by the uid of the provider
};

struct EmbedderLimits {
    std::uint32_t max_batch = 100;  // texts a request
    std::uint32_t max_text_tokens = 0;  // 0 = not known
    std::uint32_t max_in_flight = 8;  // requests at a time
    double price_per_million_tokens = 0;  // in the currency of the provider row; 0 = free or unknown
};

class Embedder {
public:
    virtual ~Embedder() = default;

    // One vector for each text, in order. `texts` stays alive until the awaitable has finished. Honours context.deadline and
    // context.stop. Safe to call concurrently. Suspends rather than blocks; CPU-bound embedders run on their own executor.
    virtual boost::asio::awaitable<Result<Embeddings>> embed(const std::vector<std::string>& texts, TextRole role,
                                                             const Context& context) = 0;

    virtual std::uint32_t dimensions() const noexcept = 0;  // of every vector it returns
    virtual EmbedderLimits limits() const noexcept = 0;
    // Whether the secrets that its last request failed with are others by now: worth asking again. True once a change. May block
    // for as long as reading a file takes.
    virtual bool take_renewed() { return false; }
    // What the model calls itself in its answers; "" where it has said nothing of it yet. An answer in another name is refused:
    // what is exchanged behind a name makes vectors that must not be mixed.
    virtual std::string called() const { return {}; }
    // What it was called before, as far as others know.
    virtual void call_it(std::string) {}  // NOLINT(performance-unnecessary-value-param): who keeps it takes it
    // The encoding that is asked for since the declared one was refused; empty where that is asked for. ask_for() takes it from
    // who has found out earlier.
    virtual std::string encoding_found() const { return {}; }
    virtual void ask_for(std::string_view /*encoding*/) {}
};

// Codes of bad answers that something follows from: see blame.hpp.
namespace bad_answer {
inline constexpr const char* kCount = "count";  // another number of vectors than of texts
inline constexpr const char* kWidth = "width";  // vectors of another width than declared
inline constexpr const char* kModel = "model";  // by another model than was asked for
inline constexpr const char* kRepeated = "repeated";  // those of other texts, or one for all
inline constexpr const char* kOrder = "order";  // which vector belongs to which text cannot be told
}  // namespace bad_answer

// The one gate every answer passes (RULES of the docs, "answers"): count, width, finite, non-zero norm, index permutation is the
// caller's. Returns the reason as class bad_answer.
Status validate_embeddings(const Embeddings& answer, std::size_t expected_count, std::uint32_t expected_dimensions);

}  // namespace homeostat
