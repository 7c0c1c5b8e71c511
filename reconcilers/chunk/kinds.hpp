// The chunkers by name; make_chunker has checked the settings.
#pragma once

#include <functional>
#include <memory>
#include <utility>

#include "reconcilers/chunk/chunker.hpp"
#include "reconcilers/chunk/segmenter.hpp"

namespace homeostat {

using Rules = std::shared_ptr<const SegmentationRules>;

std::unique_ptr<Chunker> make_whole(Rules rules);
std::unique_ptr<Chunker> make_fixed(const ChunkSettings& settings, Rules rules);
std::unique_ptr<Chunker> make_sentence(const ChunkSettings& settings, Rules rules);
std::unique_ptr<Chunker> make_markdown(const ChunkSettings& settings, Rules rules);

// What every chunker asks first: nothing where the document is white space only, one chunk of all its text where that fits `size`
// units. Else false, and the range of the text that is left to divide.
bool fits_one_chunk(const ChunkSettings& settings, Segmenter& segmenter, std::pair<std::size_t, std::size_t>& range,
                    std::vector<Chunk>& chunks);
Chunk chunk_of(std::string_view document, std::size_t begin, std::size_t end);

// Cuts a document so that `context` stands before every chunk and has its place in it: `cut` is given the settings that are left.
using CutToSize = std::function<std::vector<Chunk>(const ChunkSettings& settings)>;
std::vector<Chunk> cut_in_context(const ChunkSettings& settings, const SegmentationRules& rules, std::string_view context,
                                  const CutToSize& cut);
// Without the white space around it; and `context` before that of each chunk.
std::string_view trimmed(const SegmentationRules& rules, std::string_view text);
void put_before(std::string_view context, std::vector<Chunk>& chunks);

}  // namespace homeostat
