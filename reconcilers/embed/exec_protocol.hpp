// What is said between homeostat and an exec program: one JSON object a line each way (docs/exec-providers.md). Pure; safe from
// any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.hpp"
#include "reconcilers/embed/embedder.hpp"

namespace homeostat {

// A request but for its beginning, which names it: the whole line is exec_request_line(id, tail).
std::string exec_request_tail(std::string_view model, std::uint32_t dimensions, TextRole role, std::string_view prefix,
                              const std::vector<std::string>& texts);
std::string exec_request_line(std::uint64_t id, std::string_view tail);

// What a program declares as its "error": class content, too_large, throttled or transient, with the name of that class as its
// code; or class bad_answer where it is of no such class.
Error exec_refusal(std::string_view cls, std::string_view message, std::optional<double> retry_after_ms);

// No answer of that many vectors is longer, unless it is padded.
std::size_t exec_answer_limit(std::size_t texts, std::uint32_t dimensions) noexcept;

// The vectors of an answer, validated as a whole; or the refusal the program declares (class content, too_large, throttled or
// transient); or class bad_answer where the line breaks the protocol. `line` is taken for its room: the parser needs some bytes
// behind the text. `tokens` is 0 where the answer does not say.
Result<Embeddings> parse_exec_answer(std::string line, std::uint64_t id, std::string_view model, std::size_t expected_count,
                                     std::uint32_t dimensions);

}  // namespace homeostat
