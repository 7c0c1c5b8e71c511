// What the server makes of our binary arrays: the same values, and for halfvec the same rounding as pgvector's own cast.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <random>

#include "store/pg/arrays.hpp"
#include "store/pg/session.hpp"
#include "tests/kit/cluster.hpp"

namespace homeostat {
namespace {

class StoreArrays : public ::testing::Test {
protected:
    static void SetUpTestSuite() {
        database_ = std::make_unique<kit::Database>(kit::Schema::empty);
        session_ = *Session::connect({.url = database_->url()});
    }
    static void TearDownTestSuite() {
        session_.reset();
        database_.reset();
    }
    static Session& session() { return *session_; }
    static std::uint32_t oid(const std::string& type) {
        return static_cast<std::uint32_t>(std::stoul(database_->value("SELECT '" + type + "'::regtype::oid")));
    }

    // How many of the values pgvector's cast rounds otherwise than we do; the first of them is told.
    static std::string rounded_otherwise(const std::vector<float>& values) {
        constexpr std::uint32_t kWidth = 16;
        std::vector<const float*> rows;
        for (std::size_t i = 0; i + kWidth <= values.size(); i += kWidth) rows.push_back(values.data() + i);
        Params params;
        params.bytes(binary_vectors(rows, kWidth, VectorType::halfvec, oid("halfvec")));
        params.bytes(binary_vectors(rows, kWidth, VectorType::vector, oid("vector")));
        const Rows wrong = session().exec(
            {"halves",
             "SELECT v::text, h::text, v::public.halfvec::text FROM unnest($1::public.halfvec[], $2::public.vector[]) AS w(h, v)"
             " WHERE public.halfvec_send(h) <> public.halfvec_send(v::public.halfvec) LIMIT 1"},
            params);
        return wrong.empty() ? ""
                             : wrong.text(0, 0) + " became " + wrong.text(0, 1) + " where pgvector makes it " + wrong.text(0, 2);
    }

private:
    static inline std::unique_ptr<kit::Database> database_;
    static inline std::unique_ptr<Session> session_;
};

TEST_F(StoreArrays, ComeBackAsTheyWere) {
    const std::vector<std::int64_t> big{std::numeric_limits<std::int64_t>::min(), -1, 0,
                                        std::numeric_limits<std::int64_t>::max()};
    const std::vector<std::int32_t> small{std::numeric_limits<std::int32_t>::min(), 7};
    const std::vector<std::optional<std::string_view>> text{"a", std::nullopt, "", "{\"x\",\\}", "文書"};
    const std::vector<std::string_view> raw{std::string_view("\0\xff", 2), ""};
    Params params;
    params.bytes(binary_array(big)).bytes(binary_array(small)).bytes(binary_array(text)).bytes(binary_array(raw, kByteaOid));
    const Rows rows = session().exec(
        {"arrays", "SELECT $1::bigint[]::text, $2::int[]::text, to_json($3::text[])::text, $4::bytea[]::text"}, params);
    EXPECT_EQ(rows.text(0, 0), "{-9223372036854775808,-1,0,9223372036854775807}");
    EXPECT_EQ(rows.text(0, 1), "{-2147483648,7}");
    EXPECT_EQ(rows.text(0, 2), R"(["a",null,"","{\"x\",\\}","文書"])");
    EXPECT_EQ(rows.text(0, 3), R"({"\\x00ff","\\x"})");
}

TEST_F(StoreArrays, AMatrixKeepsItsShape) {
    const std::vector<std::string_view> values{"a", "b", "c", "d", "e", "f"};
    Params params;
    params.bytes(binary_matrix(values, 2));
    EXPECT_EQ(session().exec({"matrix", "SELECT $1::text[]::text"}, params).text(0, 0), "{{a,b,c},{d,e,f}}");
}

TEST_F(StoreArrays, VectorsComeBackBitForBit) {
    std::vector<float> values{1.0F, -0.0F, 1e-38F, 1e-45F, 3.4e38F, 0.1F};
    const std::vector<const float*> rows{values.data(), nullptr};
    Params params;
    params.bytes(binary_vectors(rows, 6, VectorType::vector, oid("vector")));
    const Rows out = session().exec(
        {"vectors", "SELECT encode(public.vector_send(v), 'hex'), v IS NULL FROM unnest($1::public.vector[]) AS v"}, params);
    EXPECT_EQ(out.text(0, 0),
              "000600003f80000080000000006ce3ee"
              "00000001"
              "7f7fc99e3dcccccd");
    EXPECT_TRUE(out.boolean(1, 1));
}

// Every half there is, the float halfway to its neighbour, and the floats beside that: where rounding is decided.
TEST_F(StoreArrays, HalvesAreRoundedAsPgvectorRoundsAtEveryTie) {
    std::vector<float> values;
    for (std::uint32_t half = 0; half < 0x7C00; ++half) {
        const std::uint32_t exponent = half >> 10;
        const std::uint32_t mantissa = half & 0x3FF;
        const float value = exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -24)
                                          : std::ldexp(static_cast<float>(mantissa + 1024), static_cast<int>(exponent) - 25);
        const float step = std::ldexp(1.0F, exponent == 0 ? -24 : static_cast<int>(exponent) - 25);
        const float tie = value + step / 2;
        for (const float v : {value, tie, std::nextafter(tie, 0.0F), std::nextafter(tie, 1e9F)}) {
            if (v < 65'504.0F + 15.0F) values.push_back(v);  // what rounds to infinity is refused by the server
        }
    }
    while (values.size() % 16 != 0) values.push_back(0);
    const std::size_t n = values.size();
    for (std::size_t i = 0; i < n; ++i) values.push_back(-values[i]);
    EXPECT_EQ(rounded_otherwise(values), "");
}

TEST_F(StoreArrays, HalvesAreRoundedAsPgvectorRoundsForAnyFloat) {
    std::mt19937_64 random(20261121);
    std::vector<float> values;
    while (values.size() < 160'000) {
        const auto v = std::bit_cast<float>(static_cast<std::uint32_t>(random()));
        if (std::isfinite(v) && std::fabs(v) < 65'519.0F) values.push_back(v);
        values.push_back(std::uniform_real_distribution<float>(-1, 1)(random));
    }
    values.resize(160'000);
    EXPECT_EQ(rounded_otherwise(values), "");
}

}  // namespace
}  // namespace homeostat
