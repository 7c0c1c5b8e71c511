// Chunkers cut the text of a document into the pieces that are embedded.
//
// Pure: the same text and settings give the same chunks on every machine, for ever (a revision's meaning depends on it). Safe
// from any thread. Text is UTF-8; ill-formed bytes are kept and never make a chunker fail. No chunk begins or ends inside a
// grapheme cluster. A document of white space only has no chunks.
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
    std::string chunker = "sentence";  // whole, fixed, sentence, markdown
    std::uint32_t size = 400;          // at most so many units a chunk; ignored by "whole"
    std::uint32_t overlap = 0;         // units repeated from the end of the chunk before; less than size / 2
    ChunkUnit unit = ChunkUnit::tokens;
};

struct Chunk {
    std::string context;       // put before the text when embedding (markdown: the path of headings); part of what is hashed
    std::string_view text;     // a view into the document: text == document.substr(start, end - start)
    std::uint64_t start = 0;   // byte offsets into the document
    std::uint64_t end = 0;

    // Exactly what is embedded and hashed: context, a blank line, text; or the text alone.
    std::string embedded_text() const;
};

class Chunker {
public:
    virtual ~Chunker() = default;
    // Chunks in document order. The views live as long as `document` does.
    virtual std::vector<Chunk> chunk(std::string_view document) const = 0;
};

// Refuses an unknown chunker (with the nearest name), size 0, or an overlap of half the size or more.
Result<std::unique_ptr<Chunker>> make_chunker(const ChunkSettings& settings);

// The estimate used where no tokenizer is at hand: about four bytes of Latin text a token, one for each CJK character.
std::uint64_t estimate_tokens(std::string_view text) noexcept;

}  // namespace homeostat
