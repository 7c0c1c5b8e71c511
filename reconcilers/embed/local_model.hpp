// Universal Sentence Encoder lite: a two-layer transformer over 8000 pieces that gives 512 numbers of unit length a text.
//
// Loaded once and shared by every pipeline: immutable after load(), safe from any thread. A text's vector is the same bit for bit
// whatever texts are beside it and whichever thread runs it; the two instruction sets agree to about 1e-7.
#pragma once

#include <boost/align/aligned_allocator.hpp>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.hpp"
#include "reconcilers/embed/local_kernels.hpp"
#include "reconcilers/embed/sentencepiece.hpp"

namespace homeostat {

using FloatArray = std::vector<float, boost::alignment::aligned_allocator<float, 64>>;

class LocalModel {
public:
    static constexpr std::uint32_t kDimensions = 512;
    static constexpr std::size_t kMaxTokens = 128;  // the model reads no further
    static constexpr std::size_t kChunkTokens = 256;  // best for the caches, see forward()
    static constexpr std::size_t kShortChunkTokens = 128;  // a tenth slower, and whoever waits for it waits half as long
    static constexpr std::string_view kName = "universal-sentence-encoder-lite";
    using Ids = std::vector<std::int32_t>;

    // Reads and checks the files in `dir`. `kernels` outlive the model.
    static Result<std::shared_ptr<const LocalModel>> load(const std::string& dir, const Kernels& kernels);

    Ids tokenize(std::string_view text) const { return pieces_->encode(text, kMaxTokens); }

    // Writes one row of kDimensions for each text. Works in memory of about 10 KiB a token; callers hand over about kChunkTokens
    // at a time and look in between whether they should stop.
    void forward(std::span<const Ids> texts, float* out) const;

    const char* instruction_set() const noexcept { return kernels_.name; }

private:
    struct Dense {
        std::size_t inputs = 0, outputs = 0;
        FloatArray weights;  // packed
        FloatArray bias;
    };
    struct Norm {
        FloatArray scale, shift;
    };
    struct Layer {
        std::size_t width = 0;  // of the input, and of queries, keys and values each
        float query_scale = 0;
        Norm attention_norm, feed_norm;
        Dense qkv, output, widen, narrow;
    };
    struct Slots;
    struct Workspace;

    explicit LocalModel(const Kernels& kernels) : kernels_(kernels) {}

    void apply(const Dense& dense, const float* in, std::size_t rows, float* out, bool accumulate, bool relu) const;
    void look_up(std::span<const Ids> texts, float* out) const;
    void attend(const Layer& layer, const float* qkv, std::size_t tokens, float* out, Workspace& work) const;
    void attention_block(const Layer& layer, std::span<const Ids> texts, const float* in, Workspace& work) const;
    void pool(std::span<const Ids> texts, Workspace& work, float* out) const;
    void make_timing(std::span<const float> frequencies);

    const Kernels& kernels_;
    std::unique_ptr<SentencePiece> pieces_;
    FloatArray embeddings_;  // 8002 x 256
    FloatArray timing_;  // kMaxTokens x 256
    Dense residual_;  // layer 0 widens its input from 256 to 512
    Layer layers_[2];
    Dense dense_;
};

}  // namespace homeostat
