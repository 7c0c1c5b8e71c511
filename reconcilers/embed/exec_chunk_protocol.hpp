// What is said between homeostat and a chunker program: one JSON object a line each way (docs/chunking.md). An answer is hostile
// until it has been checked as a whole; half an answer is never used. Pure; safe from any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.hpp"

namespace homeostat {

// As declared with the pipeline. The program is told; that it keeps to it is not checked.
struct CutRules {
    std::uint32_t size = 400;
    std::uint32_t overlap = 0;
    std::string unit = "tokens";
};

struct ProgramChunk {
    std::uint64_t start = 0;  // byte offsets into the text, half open
    std::uint64_t end = 0;
    std::string context;  // one line, well-formed
};

struct CutText {
    std::vector<ProgramChunk> chunks;
    std::optional<Error> refused;  // class content: this text is not cut, and why
};

inline constexpr std::size_t kMostChunks = 10'000;  // of a text
inline constexpr std::size_t kMostContext = 1'000;  // letters

// The texts are well-formed UTF-8.
std::string chunk_request_tail(const CutRules& rules, const std::vector<std::string_view>& texts);
// No answer about those texts is longer, unless it is padded.
std::size_t chunk_answer_limit(const std::vector<std::string_view>& texts) noexcept;

// One a text, in order; or the refusal the program declares of all (class content, too_large, throttled or transient); or class
// bad_answer where the line breaks the protocol: another number of lists than of texts; too many chunks; a chunk that is blank,
// begins or ends outside the text or inside a letter, comes before the one before it, or is the same; a context that is no line
// of at most kMostContext letters; more text in all chunks together than eight times that of the document and 64 KiB. `line` is
// taken for its room: the parser needs some bytes behind the text.
Result<std::vector<CutText>> parse_chunk_answer(std::string line, std::uint64_t id, const std::vector<std::string_view>& texts);

}  // namespace homeostat
