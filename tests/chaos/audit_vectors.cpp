#include "tests/chaos/audit_vectors.hpp"

#include <fmt/format.h>

#include <cmath>
#include <cstdlib>

#include "tests/kit/fake_endpoint.hpp"

namespace homeostat::chaos {

namespace {

std::vector<float> parse_vector(const std::string& text) {
    std::vector<float> out;
    const char* at = text.c_str() + 1;
    for (char* end = nullptr; *at != '\0' && *at != ']'; at = *end == ',' ? end + 1 : end) out.push_back(std::strtof(at, &end));
    return out;
}

bool same_direction(const std::vector<float>& a, const std::vector<float>& b) {
    double dot = 0;
    double aa = 0;
    double bb = 0;
    for (std::size_t i = 0; i < a.size() && i < b.size(); ++i) {
        dot += static_cast<double>(a[i]) * b[i];
        aa += static_cast<double>(a[i]) * a[i];
        bb += static_cast<double>(b[i]) * b[i];
    }
    return a.size() == b.size() && dot > 0.999 * std::sqrt(aa * bb);
}

}  // namespace

std::vector<std::string> wrong_vectors(kit::Sql& sql, const std::string& view, int some) {
    std::vector<std::string> out;
    const std::string part = some == 0 ? "" : fmt::format(" ORDER BY random() LIMIT {}", some);
    int first = 0;
    int second = 0;
    for (const kit::Row& row : sql.query(fmt::format("SELECT chunk_text, embedding::text FROM {}{}", view, part))) {
        const std::vector<float> vector = parse_vector(row[1].value_or("[]"));
        const auto dimensions = static_cast<std::uint32_t>(vector.size());
        if (same_direction(vector, kit::FakeEndpoint::vector_of(*row[0], dimensions))) {
            ++first;
        } else if (same_direction(vector, kit::FakeEndpoint::vector_of("other" + *row[0], dimensions))) {
            ++second;
        } else if (out.size() < 3) {
            out.push_back(fmt::format("the vector of '{}' is not that of its text", *row[0]));
        }
    }
    if (first > 0 && second > 0) out.push_back(fmt::format("two models are mixed: {} and {} vectors", first, second));
    return out;
}

}  // namespace homeostat::chaos
