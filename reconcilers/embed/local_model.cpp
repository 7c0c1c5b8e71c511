#include "reconcilers/embed/local_model.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "reconcilers/embed/local_weights.hpp"

namespace homeostat {
namespace {

constexpr std::size_t kWidth = 256;  // of an embedding
constexpr std::size_t kHidden = 512;
constexpr std::size_t kFeed = 1536;
constexpr std::size_t kHeads = 4;
constexpr std::size_t kReserved = 6;
constexpr std::size_t kVocabulary = 8002;

// The graph spells a layer's tensors under several roots; from "Layer_" on the names are unique.
std::string_view short_name(std::string_view name) {
    const std::size_t at = name.find("Layer_");
    return at == std::string_view::npos ? name : name.substr(at);
}

std::size_t token_count(std::span<const LocalModel::Ids> texts) {
    std::size_t n = 0;
    for (const LocalModel::Ids& ids : texts) n += ids.size();
    return n;
}

void normalize(float* row) {
    double squares = 0;
    for (std::size_t i = 0; i < LocalModel::kDimensions; ++i) squares += static_cast<double>(row[i]) * row[i];
    const auto factor = static_cast<float>(1.0 / std::sqrt(std::max(squares, 1e-12)));
    for (std::size_t i = 0; i < LocalModel::kDimensions; ++i) row[i] *= factor;
}

}  // namespace

// Where each tensor goes; a tensor without a slot is of no use here.
struct LocalModel::Slots {
    struct Slot {
        FloatArray* to = nullptr;
        std::size_t rows = 1, columns = 0;
        bool pack = false;
        bool filled = false;
    };
    std::map<std::string, Slot, std::less<>> slots;
    std::vector<float> frequencies;

    void plain(const std::string& name, FloatArray& to, std::size_t rows, std::size_t columns) {
        slots[name] = {&to, rows, columns, false, false};
    }
    void dense(Dense& d, const std::string& weights, const std::string& bias, std::size_t inputs, std::size_t outputs) {
        d.inputs = inputs;
        d.outputs = outputs;
        slots[weights] = {&d.weights, inputs, outputs, true, false};
        slots[bias] = {&d.bias, 1, outputs, false, false};
    }
    void norm(Norm& n, const std::string& prefix, std::size_t width) {
        plain(prefix + "layer_prepostprocess/layer_norm/layer_norm_scale/ConcatPartitions/concat", n.scale, 1, width);
        plain(prefix + "layer_prepostprocess/layer_norm/layer_norm_bias/ConcatPartitions/concat", n.shift, 1, width);
    }
    void layer(Layer& l, int number, std::size_t width) {
        const std::string at = fmt::format("Layer_{}/TransformerLayer/", number);
        const std::string attention = at + "MultiheadAttention/";
        const std::string bias = "/bias/ConcatPartitions/concat";
        l.width = width;
        const std::size_t head_width = width / kHeads;
        l.query_scale = 1.0F / std::sqrt(static_cast<float>(head_width));
        norm(l.attention_norm, at, width);
        norm(l.feed_norm, at + "FFN/", kHidden);
        const std::string qkv = attention + "qkv_transform_single";
        dense(l.qkv, qkv + "/kernel/part_0", qkv + bias, width, 3 * width);
        const std::string output = attention + "output_transform_single";
        dense(l.output, output + "/kernel/part_0", output + bias, width, kHidden);
        dense(l.widen, at + "FFN/conv1/Tensordot/Reshape_1", at + "FFN/conv1" + bias, kHidden, kFeed);
        dense(l.narrow, at + "FFN/conv2/Tensordot/Reshape_1", at + "FFN/conv2" + bias, kFeed, kHidden);
    }

    void take(std::string_view name, std::span<const float> values) {
        if (name.ends_with("TimingSignal/ExpandDims_1")) frequencies.assign(values.begin(), values.end());
        const auto at = slots.find(short_name(name));
        if (at == slots.end() || values.size() != at->second.rows * at->second.columns) return;
        Slot& slot = at->second;
        slot.to->resize(values.size());
        if (slot.pack) {
            pack_panels(values.data(), slot.columns, 1, slot.rows, slot.columns, slot.to->data());
        } else {
            std::copy(values.begin(), values.end(), slot.to->begin());
        }
        slot.filled = true;
    }
    std::string missing() const {
        for (const auto& [name, slot] : slots) {
            if (!slot.filled) return name;
        }
        return frequencies.size() == kWidth / 2 ? "" : "TimingSignal";
    }
};

struct LocalModel::Workspace {
    FloatArray input;   // tokens x 256: what layer 0 reads
    FloatArray state;   // tokens x 512: the residual stream
    FloatArray normed;  // tokens x 512: what a block reads, then what attention gave
    FloatArray wide;    // tokens x 1536: queries, keys and values, or the inside of the feed-forward
    FloatArray scores, keys, values;

    Workspace(std::size_t tokens, std::size_t longest)
        : input(tokens * kWidth),
          state(tokens * kHidden),
          normed(tokens * kHidden),
          wide(tokens * kFeed),
          scores(longest * panel_width(longest)),
          keys(kHidden / kHeads * panel_width(longest)),
          values(longest * kHidden / kHeads) {}
};

Result<std::shared_ptr<const LocalModel>> LocalModel::load(const std::string& dir, const Kernels& kernels) {
    std::shared_ptr<LocalModel> model(new LocalModel(kernels));
    Slots slots;
    slots.layer(model->layers_[0], 0, kWidth);
    slots.layer(model->layers_[1], 1, kHidden);
    const std::string widening = "Layer_0/TransformerLayer/dense/";
    slots.dense(model->residual_, widening + "kernel/ConcatPartitions/concat", widening + "bias/ConcatPartitions/concat", kWidth,
                kHidden);
    const std::string tanh = "module/Encoder_en/hidden_layers/tanh_layer_0/";
    slots.dense(model->dense_, tanh + "weights", tanh + "bias", kHidden, kDimensions);
    slots.plain("module/Embeddings_en", model->embeddings_, kVocabulary, kWidth);

    std::vector<SentencePiece::Piece> pieces;
    const TensorSink sink = [&](std::string_view name, std::span<const float> values) { slots.take(name, values); };
    if (Status s = read_local_weights(dir, pieces, sink); !s) return s.error();
    if (const std::string name = slots.missing(); !name.empty() || pieces.size() > kVocabulary) {
        return internal_error(
            fmt::format("the model in {} has the right digest, but its tensor \"{}\" is not as expected", dir, name));
    }
    model->pieces_ = std::make_unique<SentencePiece>(pieces, kReserved);
    model->make_timing(slots.frequencies);
    return std::shared_ptr<const LocalModel>(std::move(model));
}

void LocalModel::make_timing(std::span<const float> frequencies) {
    timing_.resize(kMaxTokens * kWidth);
    for (std::size_t position = 0; position < kMaxTokens; ++position) {
        float* row = timing_.data() + position * kWidth;
        for (std::size_t i = 0; i < kWidth / 2; ++i) {
            const float angle = static_cast<float>(position) * frequencies[i];
            row[i] = std::sin(angle);
            row[i + kWidth / 2] = std::cos(angle);
        }
    }
}

void LocalModel::apply(const Dense& dense, const float* in, std::size_t rows, float* out, bool accumulate, bool relu) const {
    kernels_.gemm({.a = in,
                   .a_stride = dense.inputs,
                   .b = dense.weights.data(),
                   .c = out,
                   .c_stride = dense.outputs,
                   .m = rows,
                   .n = dense.outputs,
                   .k = dense.inputs,
                   .bias = dense.bias.data(),
                   .accumulate = accumulate,
                   .relu = relu});
}

// The graph adds the embedding twice: once below the timing signal and once around it.
void LocalModel::look_up(std::span<const Ids> texts, float* out) const {
    for (const Ids& ids : texts) {
        for (std::size_t position = 0; position < ids.size(); ++position, out += kWidth) {
            const float* embedding = embeddings_.data() + static_cast<std::size_t>(ids[position]) * kWidth;
            const float* timing = timing_.data() + position * kWidth;
            for (std::size_t i = 0; i < kWidth; ++i) out[i] = 2.0F * embedding[i] + timing[i];
        }
    }
}

void LocalModel::attend(const Layer& layer, const float* qkv, std::size_t tokens, float* out, Workspace& work) const {
    const std::size_t stride = 3 * layer.width;
    const std::size_t head = layer.width / kHeads;
    const std::size_t padded = panel_width(tokens);
    for (std::size_t h = 0; h < kHeads; ++h) {
        const float* query = qkv + h * head;
        pack_panels(query + layer.width, 1, stride, head, tokens, work.keys.data());
        kernels_.gemm({.a = query,
                       .a_stride = stride,
                       .b = work.keys.data(),
                       .c = work.scores.data(),
                       .c_stride = padded,
                       .m = tokens,
                       .n = tokens,
                       .k = head});
        kernels_.softmax(work.scores.data(), tokens, tokens, padded, layer.query_scale);
        pack_panels(query + 2 * layer.width, stride, 1, tokens, head, work.values.data());
        kernels_.gemm({.a = work.scores.data(),
                       .a_stride = padded,
                       .b = work.values.data(),
                       .c = out + h * head,
                       .c_stride = layer.width,
                       .m = tokens,
                       .n = head,
                       .k = tokens});
    }
}

// Adds to the residual stream what the tokens of each text learn from each other, given the layer's input.
void LocalModel::attention_block(const Layer& layer, std::span<const Ids> texts, const float* in, Workspace& work) const {
    const std::size_t tokens = token_count(texts);
    kernels_.layer_norm(in, work.normed.data(), tokens, layer.width, layer.attention_norm.scale.data(),
                        layer.attention_norm.shift.data());
    apply(layer.qkv, work.normed.data(), tokens, work.wide.data(), false, false);
    std::size_t row = 0;
    for (const Ids& ids : texts) {
        attend(layer, work.wide.data() + row * 3 * layer.width, ids.size(), work.normed.data() + row * layer.width, work);
        row += ids.size();
    }
    apply(layer.output, work.normed.data(), tokens, work.state.data(), true, false);
}

// Mean over the tokens, tanh, unit length. The mean is taken inside the last feed-forward, before its second matrix: that matrix
// is linear, so one multiplication a text takes the place of one a token.
void LocalModel::pool(std::span<const Ids> texts, Workspace& work, float* out) const {
    FloatArray inside(texts.size() * kFeed), pooled(texts.size() * kHidden);
    std::size_t row = 0;
    for (std::size_t t = 0; t < texts.size(); ++t) {
        kernels_.mean_rows(work.wide.data() + row * kFeed, texts[t].size(), kFeed, inside.data() + t * kFeed);
        kernels_.mean_rows(work.state.data() + row * kHidden, texts[t].size(), kHidden, pooled.data() + t * kHidden);
        row += texts[t].size();
    }
    apply(layers_[1].narrow, inside.data(), texts.size(), pooled.data(), true, false);
    for (std::size_t t = 0; t < texts.size(); ++t) {
        // A text without tokens has a mean of zero in the original, not the bias.
        if (texts[t].empty()) std::fill_n(pooled.begin() + static_cast<std::ptrdiff_t>(t * kHidden), kHidden, 0.0F);
    }
    apply(dense_, pooled.data(), texts.size(), out, false, false);
    for (std::size_t i = 0; i < texts.size() * kDimensions; ++i) out[i] = std::tanh(out[i]);
    for (std::size_t t = 0; t < texts.size(); ++t) normalize(out + t * kDimensions);
}

void LocalModel::forward(std::span<const Ids> texts, float* out) const {
    const std::size_t tokens = token_count(texts);
    std::size_t longest = 1;
    for (const Ids& ids : texts) longest = std::max(longest, ids.size());
    Workspace work(tokens, longest);

    look_up(texts, work.input.data());
    apply(residual_, work.input.data(), tokens, work.state.data(), false, false);
    attention_block(layers_[0], texts, work.input.data(), work);

    const auto widen = [&](const Layer& layer) {
        kernels_.layer_norm(work.state.data(), work.normed.data(), tokens, kHidden, layer.feed_norm.scale.data(),
                            layer.feed_norm.shift.data());
        apply(layer.widen, work.normed.data(), tokens, work.wide.data(), false, true);
    };
    widen(layers_[0]);
    apply(layers_[0].narrow, work.wide.data(), tokens, work.state.data(), true, false);

    attention_block(layers_[1], texts, work.state.data(), work);
    widen(layers_[1]);
    pool(texts, work, out);
}

}  // namespace homeostat
