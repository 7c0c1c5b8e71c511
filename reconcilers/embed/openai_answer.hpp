// Reading the answer of an embeddings endpoint: JSON to floats without a tree between, because an answer of a hundred vectors is
// hundreds of kilobytes and thousands of them come in a second. Pure; safe from any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/error.hpp"
#include "reconcilers/embed/embedder.hpp"

namespace homeostat {

// The vectors of `body`, in the order of the texts (put there by "index"), as they came: base64 or lists of numbers. Fails with
// class bad_answer where the count, the indices, a width or the JSON itself is wrong. Values, and the model, are the caller's to
// judge. `tokens` is 0 where the answer does not say. `body` is taken for its room: the parser needs some bytes behind the text.
Result<Embeddings> parse_openai_answer(std::string body, std::size_t expected_count, std::uint32_t dimensions);

// Whether a model that calls itself `answered` can be the one that was asked for: the same name, apart from case, a path before
// it, or a date, version or tag behind it (text-embedding-3-small-2024-01-25, bge-m3:latest). A silent provider ("") passes.
bool same_model_family(std::string_view asked, std::string_view answered) noexcept;
// The same name, apart from case, a path before it, a date or "latest" behind it: between two answers a version that came or went
// ("-v1.5", "-2") is another model.
bool same_model_name(std::string_view before, std::string_view now) noexcept;

}  // namespace homeostat
