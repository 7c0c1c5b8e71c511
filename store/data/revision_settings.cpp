// What decides the vectors of a revision, and how it is kept.
#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <tuple>

#include "store/data/revisions.hpp"

namespace homeostat {

namespace {

using nlohmann::json;

// Whoever asks, who is charged, where it is computed and how soon: none of it makes another vector.
std::string deciding_members(const std::string& request) {
    if (request == "{}") return request;
    json members = json::parse(request);
    for (const char* name : {"user", "provider", "metadata", "service_tier", "priority"}) members.erase(name);
    return members.dump();
}

}  // namespace

RevisionSettings RevisionSettings::of(const PipelineSpec& spec, const ProviderSpec& provider) {
    RevisionSettings s;
    s.provider = spec.provider;
    s.model = spec.model.value_or(provider.model.value_or(""));
    s.dimensions = spec.dimensions.value_or(provider.dimensions.value_or(0));
    const bool wide = s.dimensions > 2000;
    s.vector_type =
        spec.vector_type == "halfvec" || (spec.vector_type == "auto" && wide) ? VectorType::halfvec : VectorType::vector;
    s.chunker = spec.chunker;
    // What "whole" ignores must not make a new revision.
    s.chunk_size = spec.chunker == "whole" ? 0 : spec.chunk_size;
    s.chunk_overlap = spec.chunker == "whole" ? 0 : spec.chunk_overlap;
    s.chunk_unit = spec.chunker == "whole" ? "tokens" : spec.chunk_unit;
    s.chunk_context = spec.chunk_context;
    s.key = spec.key;
    s.content = spec.content;
    s.content_template = spec.content_template;
    s.document_prefix = provider.document_prefix;
    s.request = deciding_members(provider.request);
    s.query_request = provider.query_request;
    return s;
}

std::string RevisionSettings::to_json() const {
    return json{{"provider", provider},
                {"model", model},
                {"dimensions", dimensions},
                {"vector_type", vector_type == VectorType::vector ? "vector" : "halfvec"},
                {"chunker", chunker},
                {"chunk_size", chunk_size},
                {"chunk_overlap", chunk_overlap},
                {"chunk_unit", chunk_unit},
                {"chunk_context", chunk_context ? json(*chunk_context) : json(nullptr)},
                {"key", key},
                {"content", content},
                {"template", content_template ? json(*content_template) : json(nullptr)},
                {"document_prefix", document_prefix},
                {"request", json::parse(request)},
                {"query_request", json::parse(query_request)}}
        .dump();
}

Result<RevisionSettings> RevisionSettings::from_json(std::string_view text) {
    try {
        const json j = json::parse(text);
        RevisionSettings s;
        s.provider = j.at("provider");
        s.model = j.at("model");
        s.dimensions = j.at("dimensions");
        s.vector_type = j.at("vector_type") == "vector" ? VectorType::vector : VectorType::halfvec;
        s.chunker = j.at("chunker");
        s.chunk_size = j.at("chunk_size");
        s.chunk_overlap = j.at("chunk_overlap");
        s.chunk_unit = j.at("chunk_unit");
        if (j.contains("chunk_context") && !j.at("chunk_context").is_null())
            s.chunk_context = j.at("chunk_context").get<std::string>();
        s.key = j.at("key").get<std::vector<std::string>>();
        s.content = j.at("content").get<std::vector<std::string>>();
        if (!j.at("template").is_null()) s.content_template = j.at("template").get<std::string>();
        s.document_prefix = j.at("document_prefix");
        if (j.contains("request")) s.request = j.at("request").dump();  // the first versions knew of none
        if (j.contains("query_request")) s.query_request = j.at("query_request").dump();
        return s;
    } catch (const json::exception& e) {
        return internal_error(fmt::format("homeostat.revision.settings cannot be read: {}", e.what()));
    }
}

std::string what_differs(const RevisionSettings& a, const RevisionSettings& b) {
    std::string out;
    const auto add = [&](std::string_view what) { out += fmt::format("{}{}", out.empty() ? "" : ", ", what); };
    const auto chunks = [](const RevisionSettings& s) {
        if (s.chunk_size == 0) return s.chunker;
        return fmt::format("{} {} {}{}", s.chunker, s.chunk_size, s.chunk_unit,
                           s.chunk_overlap > 0 ? fmt::format(" overlapping by {}", s.chunk_overlap) : "");
    };
    const auto type = [](const RevisionSettings& s) { return s.vector_type == VectorType::vector ? "vector" : "halfvec"; };
    if (a.model != b.model) add(fmt::format("model {} -> {}", a.model, b.model));
    if (a.dimensions != b.dimensions) add(fmt::format("dimensions {} -> {}", a.dimensions, b.dimensions));
    if (a.vector_type != b.vector_type) add(fmt::format("vectorType {} -> {}", type(a), type(b)));
    if (chunks(a) != chunks(b)) add(fmt::format("chunks {} -> {}", chunks(a), chunks(b)));
    if (a.chunk_context != b.chunk_context) add("another chunkContext");
    if (a.key != b.key) add("another key");
    if (a.content != b.content) add("other content");
    if (a.content_template != b.content_template) add("another template");
    if (a.document_prefix != b.document_prefix) add("another documentPrefix");
    if (a.request != b.request) add("another request");
    return out.empty() ? "its tables or keys were made again" : out;
}

bool RevisionSettings::same_vectors(const RevisionSettings& o) const {
    const auto decisive = [](const RevisionSettings& s) {
        return std::tie(s.model, s.dimensions, s.vector_type, s.chunker, s.chunk_size, s.chunk_overlap, s.chunk_unit,
                        s.chunk_context, s.key, s.content, s.content_template, s.document_prefix, s.request);
    };
    return decisive(*this) == decisive(o);
}

}  // namespace homeostat
