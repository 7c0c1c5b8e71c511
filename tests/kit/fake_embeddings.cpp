// What the fake endpoint answers: vectors from texts, right or with a flaw.
#include <fmt/format.h>
#include <openssl/evp.h>

#include <charconv>
#include <cmath>
#include <limits>

#include "tests/kit/fake_endpoint.hpp"

namespace homeostat::kit {

namespace {

std::uint64_t hash_of(std::string_view text) {
    std::uint64_t h = 0xcbf29ce484222325ULL;
    for (const unsigned char c : text) h = (h ^ c) * 0x100000001b3ULL;
    return h;
}

std::uint64_t mixed(std::uint64_t& state) {
    std::uint64_t z = (state += 0x9e3779b97f4a7c15ULL);
    z = (z ^ (z >> 30U)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27U)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31U);
}

void append_vector(std::string& out, const std::vector<float>& vector, bool base64) {
    if (base64) {
        const std::size_t bytes = vector.size() * sizeof(float);
        const std::size_t at = out.size() + 1;
        out += '"';
        out.resize(at + (bytes + 2) / 3 * 4 + 1);
        EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data() + at), reinterpret_cast<const unsigned char*>(vector.data()),
                        static_cast<int>(bytes));
        out.back() = '"';  // over the NUL that EVP_EncodeBlock wrote
        return;
    }
    out += '[';
    for (const float v : vector) {
        char digits[32];
        const auto end = std::to_chars(digits, digits + sizeof digits, v).ptr;
        if (out.back() != '[') out += ',';
        // What a careless server prints for what JSON has no word for.
        out += std::isnan(v)   ? "NaN"
               : std::isinf(v) ? "Infinity"
                               : std::string_view(digits, static_cast<std::size_t>(end - digits));
    }
    out += ']';
}

void spoil(std::vector<float>& vector, Flaw flaw) {
    switch (flaw) {
        case Flaw::short_vector: vector.pop_back(); break;
        case Flaw::long_vector: vector.push_back(0.5F); break;
        case Flaw::nan_vector: vector.back() = std::numeric_limits<float>::quiet_NaN(); break;
        case Flaw::infinite_vector: vector.back() = std::numeric_limits<float>::infinity(); break;
        case Flaw::zero_vector: std::fill(vector.begin(), vector.end(), 0.0F); break;
        default: break;
    }
}

std::string model_of(const FakeRequest& request, Flaw flaw) {
    if (flaw == Flaw::other_model) return "somebody-elses-model";
    return flaw == Flaw::dated_model ? request.model + "-2024-01-25" : request.model;
}

}  // namespace

std::vector<float> FakeEndpoint::vector_of(std::string_view text, std::uint32_t dimensions) {
    std::vector<float> out(dimensions);
    std::uint64_t state = hash_of(text);
    float norm = 0;
    for (float& v : out) {
        v = static_cast<float>(static_cast<std::int32_t>(mixed(state) >> 32U)) * 0x1p-31F;
        norm += v * v;
    }
    const float scale = 1 / std::sqrt(norm);
    for (float& v : out) v *= scale;
    return out;
}

std::string embeddings_body(const FakeRequest& request, std::uint32_t dimensions, Flaw flaw, std::string_view salt) {
    const std::size_t n = request.texts.size();
    std::size_t count = flaw == Flaw::wrong_count ? n - 1 : n;
    if (flaw == Flaw::extra_vector) ++count;
    const bool base64 = request.encoding == "base64";
    std::string out = R"({"object":"list","data":[)";
    out.reserve(count * (dimensions * (base64 ? 6U : 14U) + 80U));
    std::uint64_t tokens = 0;
    for (std::size_t k = 0; k < count; ++k) {
        const std::size_t i = std::min(flaw == Flaw::reordered ? count - 1 - k : k, n - 1);
        auto vector = FakeEndpoint::vector_of(std::string(salt) + request.texts[i], dimensions);
        if (k + 1 == count) spoil(vector, flaw);
        tokens += FakeEndpoint::tokens_of(request.texts[i]);
        if (k > 0) out += ',';
        out += R"({"object":"embedding",)";
        if (flaw != Flaw::no_usage) out += fmt::format("\"index\":{},", flaw == Flaw::duplicate_index ? 0 : i);
        out += "\"embedding\":";
        append_vector(out, vector, base64);
        out += '}';
    }
    out += ']';
    if (flaw != Flaw::no_usage) {
        out += fmt::format(R"(,"model":"{}","usage":{{"prompt_tokens":{},"total_tokens":{}}})", model_of(request, flaw), tokens,
                           tokens);
    }
    out += '}';
    return out;
}

}  // namespace homeostat::kit
