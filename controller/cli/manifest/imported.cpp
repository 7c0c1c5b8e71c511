#include "controller/cli/manifest/imported.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>

namespace homeostat {

namespace {

constexpr std::string_view kOpenAi = "https://api.openai.com/v1";
constexpr std::size_t kLongestName = 50;  // bytes, so that the target's has room

bool is_plain(std::string_view name) {
    return !name.empty() && std::isdigit(static_cast<unsigned char>(name.front())) == 0 &&
           std::all_of(name.begin(), name.end(),
                       [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_'; });
}

std::string identifier(const std::string& name) {
    if (is_plain(name)) return name;
    std::string out = "\"";
    for (const char c : name) out += c == '"' ? "\"\"" : std::string(1, c);
    return out + '"';
}

// For a shell.
std::string word(const std::string& text) {
    const bool plain = !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
        return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '.' || c == '-' || c == '/' || c == ',';
    });
    if (plain) return text;
    std::string out = "'";
    for (const char c : text) out += c == '\'' ? "'\\''" : std::string(1, c);
    return out + "'";
}

// "s" of "s.t", quoted as it is there.
std::string schema_of(const std::string& relation) {
    bool quoted = false;
    for (std::size_t i = 0; i < relation.size(); ++i) {
        if (relation[i] == '"') quoted = !quoted;
        if (relation[i] == '.' && !quoted) return relation.substr(0, i);
    }
    return "public";
}

YamlNode names(const std::vector<std::string>& all) {
    YamlNode list = YamlNode::list();
    for (const std::string& name : all) list.items.push_back(YamlNode::text(name));
    return list;
}

YamlNode object(const char* kind, const std::string& name, YamlNode spec) {
    YamlNode metadata = YamlNode::map();
    metadata.add("name", YamlNode::text(name));
    YamlNode node = YamlNode::map();
    node.add("apiVersion", YamlNode::text("homeostat.dev/v1"));
    node.add("kind", YamlNode::text(kind));
    node.add("metadata", std::move(metadata));
    node.add("spec", std::move(spec));
    return node;
}

std::string joined(const std::vector<std::string>& columns) {
    std::vector<std::string> out;
    for (const std::string& c : columns) out.push_back(identifier(c));
    return fmt::format("{}", fmt::join(out, ","));
}

std::string adopt_command(const std::string& name, const ForeignVectorizer& v) {
    std::string out = fmt::format("homeostat adopt {} --from {} --key {} --vector {}", word(name), word(v.sink),
                                  word(joined(v.sink_key)), word(v.vector_column));
    if (!v.chunk_column.empty()) out += " --chunk " + word(v.chunk_column);
    if (!v.text_column.empty()) out += " --text " + word(v.text_column);
    return out;
}

struct Cutting {
    std::string_view chunker;
    std::string_view unit;
    bool alike;  // as the tool cuts, but for where exactly
};

Cutting cutting_of(const std::string& theirs) {
    if (theirs == "none" || theirs == "whole") return {"whole", "", true};
    if (theirs == "fixed" || theirs == "sentence" || theirs == "markdown") return {theirs, "tokens", true};
    if (theirs == "token_based") return {"fixed", "tokens", true};
    if (theirs == "character_text_splitter" || theirs == "recursive_character_text_splitter")
        return {"sentence", "characters", true};
    return {"sentence", "tokens", false};
}

void add_cutting(const ForeignVectorizer& v, YamlNode& spec, ImportedPipeline& out) {
    const Cutting cutting = cutting_of(v.chunking);
    spec.add("chunker", YamlNode::text(std::string(cutting.chunker)));
    if (cutting.chunker == "whole") return;
    if (!cutting.alike) {
        out.notes.push_back(v.chunking.empty()
                                ? "how texts were cut is not said there; chunker sentence is assumed"
                                : fmt::format("chunker \"{}\" is not known here; sentence stands in for it", v.chunking));
    }
    if (v.chunk_size) {
        spec.add("chunkSize", YamlNode::number(*v.chunk_size));
        spec.add("chunkUnit", YamlNode::text(std::string(cutting.unit)));
    }
    if (v.chunk_size && v.chunk_overlap.value_or(0) > 0) {
        const std::int64_t most = std::max<std::int64_t>(0, (*v.chunk_size - 1) / 2);
        spec.add("chunkOverlap", YamlNode::number(std::min(most, *v.chunk_overlap)));
        if (*v.chunk_overlap > most)
            out.notes.push_back(
                fmt::format("an overlap of {} is half of a chunk or more; it is {} here", *v.chunk_overlap, most));
    }
    out.notes.emplace_back(
        "texts may be cut in other places here, so only documents whose chunks are the same are adopted, which are "
        "mostly those of one chunk; the others are embedded again, and paid for");
}

// What is embedded beside the content itself.
void add_content(const ForeignVectorizer& v, YamlNode& spec, ImportedPipeline& out) {
    constexpr std::string_view kBefore = "\n\n$chunk";
    const bool whole = cutting_of(v.chunking).chunker == "whole";
    const std::optional<std::string> text = translated_template(v.format, v.content);
    const bool ends = v.format.ends_with(kBefore) || v.format.ends_with("\n\n${chunk}");
    if (v.format == "$chunk" || v.format == "${chunk}") {
        spec.add("content", YamlNode::text(v.content));
    } else if (text && whole) {
        spec.add("template", YamlNode::text(*text));
    } else if (text && ends) {
        spec.add("content", YamlNode::text(v.content));
        spec.add("chunkContext", YamlNode::text(text->substr(0, text->rfind("\n\n"))));
    } else {
        spec.add("content", YamlNode::text(v.content));
        out.notes.push_back(
            fmt::format("the format of what was embedded cannot be said here ({}); without it these are vectors of "
                        "other texts, and none is adopted",
                        YamlNode::text(v.format).scalar));
    }
    if (v.parsing != "none" && v.parsing != "auto")
        out.notes.push_back(fmt::format("texts were parsed by {}, which is not done here", v.parsing));
}

void add_index(const ForeignVectorizer& v, YamlNode& spec, ImportedPipeline& out) {
    if (v.indexing == "none") spec.add("indexMethod", YamlNode::text("none"));
    if (v.indexing == "diskann") out.notes.emplace_back("an index of pgvectorscale (diskann) is not made here; hnsw is");
    if (v.indexing != "hnsw") return;
    if (v.opclass == "vector_ip_ops") {
        spec.add("distance", YamlNode::text("inner_product"));
    } else if (v.opclass == "vector_l2_ops") {
        spec.add("distance", YamlNode::text("l2"));
    } else if (!v.opclass.empty() && v.opclass != "vector_cosine_ops") {
        out.notes.push_back(fmt::format("an index of {} is not made here; one for cosine distance is", v.opclass));
    }
    if (v.m) spec.add("indexM", YamlNode::number(*v.m));
    if (v.ef_construction) spec.add("indexEfConstruction", YamlNode::number(*v.ef_construction));
}

// Endpoint and credential in the form that providers have them; "" where it speaks another language than OpenAI's.
std::string endpoint_of(const ForeignVectorizer& v) {
    const bool own = !v.base_url.empty() && (v.embedding == "openai" || v.base_url != kOpenAi);
    if (v.embedding == "openai") return own ? v.base_url : std::string(kOpenAi);
    if (v.embedding == "ollama") {
        std::string base = own ? v.base_url : "http://localhost:11434";
        while (base.ends_with('/')) base.pop_back();
        return base.ends_with("/v1") ? base : base + "/v1";
    }
    if (v.embedding == "voyageai" || v.embedding == "voyage") return own ? v.base_url : "https://api.voyageai.com/v1";
    return "";
}

std::string credential_of(const ForeignVectorizer& v, ImportedPipeline& out) {
    if (v.embedding == "ollama") return "";
    if (!v.api_key_name.empty()) return "env:" + v.api_key_name;
    if (v.api_key_file.starts_with('/')) return "file:" + v.api_key_file;
    if (!v.api_key_file.empty()) {
        out.notes.push_back(fmt::format(
            "the key lies in {}; name that file in full, or another reference, as the provider's credential", v.api_key_file));
    }
    return v.embedding == "openai" ? "env:OPENAI_API_KEY" : "env:VOYAGE_API_KEY";
}

std::string short_name(const ForeignVectorizer& v) {
    std::string name;
    for (const char c : v.name) name += std::iscntrl(static_cast<unsigned char>(c)) != 0 ? '_' : c;
    if (name.size() <= kLongestName) return name;
    std::size_t end = kLongestName;
    while (end > 0 && (static_cast<unsigned char>(name[end]) & 0xC0U) == 0x80U) --end;
    return name.substr(0, end);
}

}  // namespace

std::optional<std::string> translated_template(const std::string& format, const std::string& content) {
    std::string out;
    for (std::size_t i = 0; i < format.size(); ++i) {
        const char c = format[i];
        if (c == '{' || c == '}') {
            out += std::string(2, c);
        } else if (c != '$') {
            out += c;
        } else if (i + 1 < format.size() && format[i + 1] == '$') {
            out += '$';
            ++i;
        } else {
            const bool braced = i + 1 < format.size() && format[i + 1] == '{';
            std::size_t end = i + (braced ? 2 : 1);
            const std::size_t begin = end;
            while (end < format.size() && (std::isalnum(static_cast<unsigned char>(format[end])) != 0 || format[end] == '_'))
                ++end;
            if (end == begin || (braced && (end == format.size() || format[end] != '}'))) return std::nullopt;
            const std::string name = format.substr(begin, end - begin);
            out += fmt::format("{{{}}}", name == "chunk" ? content : name);
            i = braced ? end : end - 1;
        }
    }
    return out;
}

std::string Importer::provider_of(const ForeignVectorizer& v, ImportedPipeline& out) {
    if (given_) return *given_;
    const std::string endpoint = endpoint_of(v);
    if (endpoint.empty()) {
        out.reason = v.embedding.empty() ? "which provider makes the vectors is not said there"
                                         : fmt::format(
                                               "provider \"{}\" has no endpoint that is known here; declare one that makes the "
                                               "same vectors, and name it",
                                               v.embedding);
        return v.embedding.empty() ? "unknown" : v.embedding;
    }
    const std::string credential = credential_of(v, out);
    const bool sends = v.embedding == "openai" && v.model.starts_with("text-embedding-3") && v.dimensions;
    const std::string what = fmt::format("{}\n{}\n{}\n{}", endpoint, credential, v.input_type, sends);
    const auto [it, fresh] = names_.try_emplace(what, v.embedding);
    if (!fresh) return it->second;
    const auto same = std::count_if(providers_.begin(), providers_.end(), [&](const YamlNode& p) {
        return p.find("metadata")->find("name")->scalar.starts_with(v.embedding);
    });
    if (same > 0) it->second = fmt::format("{}-{}", v.embedding, same + 1);
    YamlNode spec = YamlNode::map();
    spec.add("kind", YamlNode::text("openai"));
    spec.add("endpoint", YamlNode::text(endpoint));
    spec.add("model", YamlNode::text(v.model));
    if (v.dimensions) spec.add("dimensions", YamlNode::number(*v.dimensions));
    if (sends) spec.add("sendDimensions", YamlNode::boolean(true));
    if (!credential.empty()) spec.add("credential", YamlNode::text(credential));
    if (!v.input_type.empty()) {
        YamlNode request = YamlNode::map();
        request.add("input_type", YamlNode::text(v.input_type));
        spec.add("request", std::move(request));
        YamlNode query = YamlNode::map();
        query.add("input_type", YamlNode::text("query"));
        if (v.input_type == "document") spec.add("queryRequest", std::move(query));
    }
    providers_.push_back(object("Provider", it->second, std::move(spec)));
    return it->second;
}

ImportedPipeline Importer::pipeline(const ForeignVectorizer& v) {
    ImportedPipeline out;
    out.name = short_name(v);
    YamlNode spec = YamlNode::map();
    spec.add("source", YamlNode::text(v.source.empty() ? v.source_named : v.source));
    if (!v.key.empty()) spec.add("key", names(v.key));
    add_content(v, spec, out);
    spec.add("provider", YamlNode::text(provider_of(v, out)));
    if (!v.model.empty()) spec.add("model", YamlNode::text(v.model));
    if (v.dimensions) spec.add("dimensions", YamlNode::number(*v.dimensions));
    spec.add("target", YamlNode::text(fmt::format("{}.{}", schema_of(v.source), identifier(out.name + "_vectors"))));
    add_cutting(v, spec, out);
    add_index(v, spec, out);
    if (!v.further.empty()) out.notes.push_back(fmt::format("options of the provider are not carried over: {}", v.further));
    if (v.disabled) out.notes.emplace_back("it is disabled there; here it is not, once it is resumed");
    if (v.source.empty()) out.reason = fmt::format("its source {} is not there any more", v.source_named);
    if (v.loading != "column")
        out.reason = fmt::format("its documents are loaded by \"{}\"; here they are columns of the source", v.loading);
    if (v.model.empty() && !given_) out.reason = "which model made the vectors is not said there";
    out.manifest = object("Pipeline", out.name, std::move(spec));
    if (v.sink.empty()) {
        out.notes.push_back(fmt::format("{}, which had its vectors, is not there any more: all is embedded", v.sink_named));
    } else {
        out.adopt = adopt_command(out.name, v);
    }
    return out;
}

}  // namespace homeostat
