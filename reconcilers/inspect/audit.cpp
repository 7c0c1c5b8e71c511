#include "reconcilers/inspect/audit.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "reconcilers/chunk/chunker.hpp"
#include "reconcilers/gateway/plural.hpp"

namespace homeostat {

std::vector<std::string> texts_of(const std::vector<SampledChunk>& sample) {
    std::vector<std::string> texts;
    texts.reserve(sample.size());
    for (const SampledChunk& s : sample) {
        Chunk chunk;
        chunk.context = s.context;
        chunk.text = s.text;
        texts.push_back(chunk.embedded_text());
    }
    return texts;
}

double cosine_distance(const float* a, const float* b, std::size_t n) noexcept {
    double dot = 0;
    double aa = 0;
    double bb = 0;
    for (std::size_t i = 0; i < n; ++i) {
        dot += static_cast<double>(a[i]) * b[i];
        aa += static_cast<double>(a[i]) * a[i];
        bb += static_cast<double>(b[i]) * b[i];
    }
    return aa == 0 || bb == 0 ? 2 : 1 - dot / std::sqrt(aa * bb);
}

AuditResult compare_sample(const std::vector<SampledChunk>& sample, const Embeddings& again, double tolerance) {
    AuditResult out;
    out.tokens = again.tokens;
    std::vector<double> distances;
    std::map<std::vector<float>, std::set<std::string>> texts_by_vector;
    for (std::size_t i = 0; i < sample.size() && i < again.count(); ++i) {
        const SampledChunk& s = sample[i];
        const bool wide = s.vector.size() == again.dimensions;
        const double distance = wide ? cosine_distance(s.vector.data(), again.row(i), again.dimensions) : 2;
        distances.push_back(distance);
        if (!(distance <= tolerance)) out.off.push_back({s.document_id, s.number, distance});
        texts_by_vector[{again.row(i), again.row(i) + again.dimensions}].insert(s.context + '\n' + s.text);
    }
    for (const auto& [vector, texts] : texts_by_vector) {
        if (texts.size() > 1) out.same += texts.size();
    }
    std::sort(out.off.begin(), out.off.end(),
              [](const AuditFinding& a, const AuditFinding& b) { return a.distance > b.distance; });
    std::sort(distances.begin(), distances.end());
    out.asked = distances.size();
    if (!distances.empty()) {
        out.median = distances[distances.size() / 2];
        out.worst = distances.back();
    }
    return out;
}

std::string audit_text(const AuditResult& r, double tolerance) {
    std::string out;
    if (!r.off.empty()) {
        out = fmt::format("{} of {} {} back with other vectors (cosine distance up to {:.3f}, allowed {:.3f})", r.off.size(),
                          plural(static_cast<std::int64_t>(r.asked), "text"),
                          one_or_many(static_cast<std::int64_t>(r.off.size()), "comes", "come"), r.worst, tolerance);
    }
    if (r.same > 0) {
        out += fmt::format("{}{} of different texts come back with the same vector", out.empty() ? "" : "; ",
                           plural(static_cast<std::int64_t>(r.same), "vector"));
    }
    return out;
}

}  // namespace homeostat
