// The built-in model against what the npm package's own runtime made of thirty texts (embed_local_reference.cjs).
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "reconcilers/embed/inprocess.hpp"
#include "reconcilers/embed/local_model.hpp"

namespace homeostat {
namespace {

namespace fs = std::filesystem;

struct Reference {
    std::string text;
    LocalModel::Ids pieces;
    std::vector<float> vector;
};

const std::vector<Reference>& references() {
    static const std::vector<Reference> all = [] {
        std::ifstream in(HOMEOSTAT_SOURCE_DIR "/tests/unit/embed_local_reference.json");
        std::vector<Reference> out;
        for (const auto& row : nlohmann::json::parse(in)) {
            out.push_back({row.at("text"), row.at("pieces").get<LocalModel::Ids>(), row.at("vector").get<std::vector<float>>()});
        }
        return out;
    }();
    return all;
}

std::shared_ptr<const LocalModel> model(InstructionSet set) {
    static const auto load = [](InstructionSet s) {
        auto loaded = load_local_model(HOMEOSTAT_MODEL_DIR, s);
        if (!loaded) throw std::runtime_error(loaded.error().message);
        return *loaded;
    };
    static const std::shared_ptr<const LocalModel> best = load(InstructionSet::best);
    static const std::shared_ptr<const LocalModel> portable = load(InstructionSet::portable);
    return set == InstructionSet::best ? best : portable;
}

std::vector<float> forward(const LocalModel& m, const std::vector<LocalModel::Ids>& texts) {
    std::vector<float> out(texts.size() * LocalModel::kDimensions);
    m.forward(texts, out.data());
    return out;
}

float largest_difference(const float* a, const float* b, std::size_t n) {
    float most = 0;
    for (std::size_t i = 0; i < n; ++i) most = std::max(most, std::fabs(a[i] - b[i]));
    return most;
}

std::vector<LocalModel::Ids> reference_pieces() {
    std::vector<LocalModel::Ids> out;
    for (const Reference& r : references()) out.push_back(r.pieces);
    return out;
}

class EmbedLocal : public testing::TestWithParam<InstructionSet> {};

TEST_P(EmbedLocal, SplitsEveryReferenceTextIntoTheSamePieces) {
    ASSERT_GE(references().size(), 20U);
    for (const Reference& r : references()) EXPECT_EQ(model(GetParam())->tokenize(r.text), r.pieces) << r.text;
}

TEST_P(EmbedLocal, GivesTheReferenceVectors) {
    for (const Reference& r : references()) {
        const auto vector = forward(*model(GetParam()), {model(GetParam())->tokenize(r.text)});
        EXPECT_LT(largest_difference(vector.data(), r.vector.data(), LocalModel::kDimensions), 1e-5F) << r.text;
    }
}

TEST_P(EmbedLocal, GivesTheSameBitsAloneAndInAnyBatch) {
    const auto pieces = reference_pieces();
    const auto together = forward(*model(GetParam()), pieces);
    auto backwards = pieces;
    std::reverse(backwards.begin(), backwards.end());
    const auto reversed = forward(*model(GetParam()), backwards);
    for (std::size_t i = 0; i < pieces.size(); ++i) {
        const auto alone = forward(*model(GetParam()), {pieces[i]});
        const std::size_t bytes = LocalModel::kDimensions * sizeof(float);
        const float* row = together.data() + i * LocalModel::kDimensions;
        EXPECT_EQ(std::memcmp(row, alone.data(), bytes), 0) << references()[i].text;
        EXPECT_EQ(std::memcmp(row, reversed.data() + (pieces.size() - 1 - i) * LocalModel::kDimensions, bytes), 0);
    }
}

TEST_P(EmbedLocal, GivesTheSameBitsOnEveryThread) {
    const auto pieces = reference_pieces();
    const auto expected = forward(*model(GetParam()), pieces);
    std::vector<std::vector<float>> found(4);
    {
        std::vector<std::jthread> threads;
        for (auto& f : found) threads.emplace_back([&] { f = forward(*model(GetParam()), pieces); });
    }
    for (const auto& f : found) EXPECT_EQ(f, expected);
}

TEST_P(EmbedLocal, GivesAUnitVectorWhereATextHasNoPieces) {
    EXPECT_TRUE(model(GetParam())->tokenize("").empty());
    const auto rows = forward(*model(GetParam()), {{}, {8}, {}});
    double squares = 0;
    for (std::size_t i = 0; i < LocalModel::kDimensions; ++i) squares += static_cast<double>(rows[i]) * rows[i];
    EXPECT_NEAR(squares, 1.0, 1e-5);
    EXPECT_EQ(std::memcmp(rows.data(), rows.data() + 2 * LocalModel::kDimensions, LocalModel::kDimensions * sizeof(float)), 0);
}

INSTANTIATE_TEST_SUITE_P(Kernels, EmbedLocal, testing::Values(InstructionSet::best, InstructionSet::portable),
                         [](const auto& p) { return p.param == InstructionSet::best ? "best" : "portable"; });

TEST(EmbedLocalKernels, AgreeWithEachOther) {
    const auto pieces = reference_pieces();
    const auto a = forward(*model(InstructionSet::best), pieces);
    const auto b = forward(*model(InstructionSet::portable), pieces);
    EXPECT_LT(largest_difference(a.data(), b.data(), a.size()), 1e-6F);
}

TEST(EmbedLocalPieces, ReadNoFurtherThanTheLimitAndKeepCodePointsWhole) {
    const auto& m = *model(InstructionSet::best);
    EXPECT_EQ(m.tokenize(std::string(10'000'000, 'a')).size(), LocalModel::kMaxTokens);
    // Four bytes a character, and the limit of bytes falls inside one of them: no ill-formed rest may become a piece.
    std::string faces = "x";
    while (faces.size() < 100'000) faces += "\xF0\x9F\x98\x80";
    EXPECT_EQ(m.tokenize(faces), m.tokenize("x\xF0\x9F\x98\x80"));
}

TEST(EmbedLocalPieces, ReadIllFormedBytesAsReplacementCharacters) {
    const auto& m = *model(InstructionSet::best);
    EXPECT_EQ(m.tokenize("a \xFF\xC3 b"), m.tokenize("a \xEF\xBF\xBD\xEF\xBF\xBD b"));
    EXPECT_EQ(m.tokenize("cut \xE2\x82"), m.tokenize("cut \xEF\xBF\xBD"));
}

// A copy of the model's folder in which single files can be broken; links, so that it costs nothing.
class EmbedLocalFiles : public testing::Test {
protected:
    void SetUp() override {
        fs::path from = HOMEOSTAT_MODEL_DIR;
        if (fs::exists(from / "dist")) from /= "dist";
        std::string name = (fs::temp_directory_path() / "homeostat-model-XXXXXX").string();
        ASSERT_NE(mkdtemp(name.data()), nullptr);
        dir_ = name;
        for (const auto& entry : fs::directory_iterator(from)) {
            fs::create_symlink(fs::canonical(entry.path()), dir_ / entry.path().filename());
        }
    }
    void TearDown() override { fs::remove_all(dir_); }

    void replace(const std::string& name, const std::function<void(std::string&)>& edit) {
        std::ifstream in(dir_ / name, std::ios::binary);
        std::string bytes{std::istreambuf_iterator<char>(in), {}};
        edit(bytes);
        fs::remove(dir_ / name);
        std::ofstream(dir_ / name, std::ios::binary) << bytes;
    }
    std::string failure() const {
        const auto loaded = load_local_model(dir_.string());
        if (loaded) return "";
        EXPECT_EQ(loaded.error().cls, ErrorClass::invalid);
        EXPECT_NE(loaded.error().message.find("run scripts/bootstrap, or set embed.model_dir"), std::string::npos);
        return loaded.error().message;
    }

    fs::path dir_;
};

TEST_F(EmbedLocalFiles, LoadWhereNothingIsBroken) { EXPECT_EQ(failure(), ""); }

TEST_F(EmbedLocalFiles, SayWhichFileIsMissing) {
    for (const char* name : {"group1-shard4of7", "vocab.json", "model.json"}) {
        fs::remove(dir_ / name);
        EXPECT_NE(failure().find(std::string("cannot open ") + (dir_ / name).string()), std::string::npos) << failure();
    }
}

TEST_F(EmbedLocalFiles, AreRefusedWhereOneBitOfAWeightIsWrong) {
    replace("group1-shard3of7", [](std::string& b) { b[1'234'567] = static_cast<char>(b[1'234'567] ^ 1); });
    EXPECT_NE(failure().find("the shards"), std::string::npos);
    EXPECT_NE(failure().find("damaged or of another version"), std::string::npos);
}

TEST_F(EmbedLocalFiles, AreRefusedWhereAShardIsCutOrGrown) {
    replace("group1-shard7of7", [](std::string& b) { b.pop_back(); });
    EXPECT_NE(failure().find("too short"), std::string::npos);
    replace("group1-shard7of7", [](std::string& b) { b += "xx"; });
    EXPECT_NE(failure().find("too long"), std::string::npos);
}

TEST_F(EmbedLocalFiles, AreRefusedWhereTheManifestIsNotTheOneWeKnow) {
    replace("model.json", [](std::string& b) { b = "{"; });
    EXPECT_NE(failure().find("model.json and vocab.json"), std::string::npos);
}

}  // namespace
}  // namespace homeostat
