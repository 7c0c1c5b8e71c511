// Chunkers cut the text of a document into the pieces that are embedded.
//
// Pure: the same text and settings give the same chunks (a revision's meaning depends on it); where text is not ASCII, the
// boundaries are those of the Unicode version of the ICU in use. Safe from any thread. Text is UTF-8 of less than 2 GiB;
// ill-formed bytes are kept and never make a chunker fail. No chunk begins or ends inside a grapheme cluster, which is the only
// thing that may make a chunk larger than its size. White space around a chunk is left out; all other text is in some chunk. A
// document of white space only has no chunks. Cost is linear in the text (times the logarithm of the number of sentences).
//
// whole     the document in one chunk.
// fixed     windows of `size`, cut between any two graphemes. An edit moves every later cut.
// sentence  whole paragraphs, else whole sentences, else lines, words, graphemes. Cuts are chosen by content (packing.hpp), so
//           that an edit inside a paragraph changes the chunk it is in and seldom more.
// markdown  the same along headings first: fenced code, lists and tables are cut at lines; the path of headings above a chunk's
//           text, "A > B > C", is its context (outer headings are left out where it would take over a quarter of the size). An
//           edited heading changes every chunk below it, because it is part of what is embedded.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.hpp"

namespace homeostat {

enum class ChunkUnit : std::uint8_t { tokens, characters };

struct ChunkSettings {
    std::string chunker = "sentence";  // whole, fixed, sentence, markdown; program:NAME is none of ours
    std::uint32_t size = 400;          // at most so many units of embedded_text(); ignored by "whole", as is the overlap
    std::uint32_t overlap = 0;         // at most so many units repeated from the end of the chunk before; less than size / 2
    ChunkUnit unit = ChunkUnit::tokens;
};

// Stands between context and text where both are embedded.
inline constexpr std::string_view kContextEnd = "\n\n";

struct Chunk {
    std::string context;  // put before the text when embedding: what was given for the document, then (markdown) the path of
                          // headings, a line each; part of what is hashed
    std::string_view text;  // a view into the document: text == document.substr(start, end - start)
    std::uint64_t start = 0;  // byte offsets into the document
    std::uint64_t end = 0;

    // Exactly what is embedded and hashed: context, a blank line, text; or the text alone.
    std::string embedded_text() const;
};

class Chunker {
public:
    virtual ~Chunker() = default;
    // Chunks in document order. The views live as long as `document` does. `context` stands before every chunk and counts towards
    // its size; of one that would take over half of it (less the overlap) the end is left out. "whole" has no size: all of it
    // stands.
    virtual std::vector<Chunk> chunk(std::string_view document, std::string_view context) const = 0;
    std::vector<Chunk> chunk(std::string_view document) const { return chunk(document, {}); }
};

// NAME of "program:NAME", a program that the operator registers; empty for those of ours.
std::string_view chunker_program(std::string_view chunker) noexcept;

// Refuses an unknown chunker (with the nearest name), size 0, or an overlap of half the size or more.
Result<std::unique_ptr<Chunker>> make_chunker(const ChunkSettings& settings);

// The estimate used where no tokenizer is at hand: four bytes a token, one token for each CJK character. Adding text never lowers
// it, and the estimate of a whole is at most the sum of the estimates of its parts.
std::uint64_t estimate_tokens(std::string_view text) noexcept;

}  // namespace homeostat
