// Vectors against the provider that made them: texts are embedded again, and what comes back is compared with what is stored. So
// a model that was swapped behind its name is found, whoever the provider is. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "reconcilers/embed/embedder.hpp"
#include "store/data/vector_sample.hpp"

namespace homeostat {

std::vector<std::string> texts_of(const std::vector<SampledChunk>& sample);  // as they were embedded

struct AuditFinding {
    std::int64_t document_id = 0;
    std::int32_t number = 0;
    double distance = 0;
};

struct AuditResult {
    std::size_t asked = 0;
    std::vector<AuditFinding> off;  // further away than the tolerance; the furthest first
    double median = 0, worst = 0;   // cosine distance
    std::size_t same = 0;      // texts that came back with the vector of another text
    std::uint64_t tokens = 0;
    // Texts that begin alike may rightly have one vector, of a model that reads no further; all that were asked for may not.
    bool agrees() const noexcept { return off.empty() && (same < asked || asked < 3); }
};

double cosine_distance(const float* a, const float* b, std::size_t n) noexcept;  // 2 where one of them has no direction

// `again`: one row a text, in order. Of those whose width is another, the distance is 2.
AuditResult compare_sample(const std::vector<SampledChunk>& sample, const Embeddings& again, double tolerance);

// "3 of 8 texts come back with other vectors (cosine distance up to 0.912, allowed 0.010)"; "" where all agree.
std::string audit_text(const AuditResult& result, double tolerance);

}  // namespace homeostat
