#include "controller/cli/manifest/kinds.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>

namespace homeostat {

namespace {

struct Kind {
    AnyKind kind;
    std::string_view plural;
    std::string_view word;
    std::string_view brief;
    std::string_view title;
};

constexpr std::array kKinds{Kind{ResourceKind::pipeline, "pipelines", "pipeline", "pl", "Pipeline"},
                            Kind{ResourceKind::provider, "providers", "provider", "pv", "Provider"},
                            Kind{ResourceKind::target_view, "targetviews", "targetview", "tv", "TargetView"},
                            Kind{ListingKind::event, "events", "event", "ev", "Event"},
                            Kind{ListingKind::run, "runs", "run", "", "Run"},
                            Kind{ListingKind::replica, "replicas", "replica", "rep", "Replica"},
                            Kind{ListingKind::batch, "batches", "batch", "", "Batch"},
                            Kind{ListingKind::revision, "revisions", "revision", "rev", "Revision"},
                            Kind{ListingKind::lease, "leases", "lease", "", "Lease"},
                            Kind{ListingKind::dead_letter, "deadletters", "deadletter", "dl", "DeadLetter"},
                            Kind{ListingKind::checkpoint, "checkpoints", "checkpoint", "cp", "Checkpoint"}};

const Kind& row_of(const AnyKind& kind) {
    return *std::find_if(kKinds.begin(), kKinds.end(), [&](const Kind& k) { return k.kind == kind; });
}

std::string lowered(std::string_view word) {
    std::string out(word);
    for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    return out;
}

// KIND/NAME, where what stands before the stroke is a kind; a name may have a stroke in it.
std::optional<std::pair<AnyKind, std::string>> split_name(std::string_view text) {
    const std::size_t slash = text.find('/');
    if (slash == std::string_view::npos) return std::nullopt;
    const std::optional<AnyKind> kind = find_kind(text.substr(0, slash));
    if (!kind) return std::nullopt;
    return std::pair{*kind, std::string(text.substr(slash + 1))};
}

Result<ResourceKind> declared(const AnyKind& kind) {
    if (const auto* resource = std::get_if<ResourceKind>(&kind)) return *resource;
    return invalid(fmt::format("{} can only be listed; see homeostat get {}", row_of(kind).plural, row_of(kind).plural));
}

}  // namespace

std::optional<AnyKind> find_kind(std::string_view word) {
    const std::string wanted = lowered(word);
    if (wanted.empty()) return std::nullopt;
    for (const Kind& k : kKinds) {
        if (wanted == k.plural || wanted == k.word || wanted == k.brief) return k.kind;
    }
    return std::nullopt;
}

Error unknown_kind(std::string_view word) {
    std::vector<std::string_view> words;
    std::string list;
    for (const Kind& k : kKinds) {
        words.insert(words.end(), {k.plural, k.word});
        list += (list.empty() ? "" : ", ") + std::string(k.plural);
    }
    return invalid(fmt::format("\"{}\" is not a kind of object{}; there are {}", word, did_you_mean(word, words), list));
}

Result<ResourceKind> read_kind(std::string_view word) {
    const std::optional<AnyKind> kind = find_kind(word);
    if (!kind) return unknown_kind(word);
    return declared(*kind);
}

std::string_view kind_word(ResourceKind kind) { return row_of(kind).word; }
std::string_view kind_word(ListingKind kind) { return row_of(kind).word; }
std::string_view kind_title(ResourceKind kind) { return row_of(kind).title; }
std::string_view kind_title(ListingKind kind) { return row_of(kind).title; }

std::vector<std::string_view> kind_words(bool declared_only) {
    std::vector<std::string_view> words;
    for (const Kind& k : kKinds) {
        if (!declared_only || std::holds_alternative<ResourceKind>(k.kind)) words.push_back(k.plural);
    }
    return words;
}

NamedObject read_object_name(std::string_view text) {
    const auto split = split_name(text);
    if (split) {
        if (const auto* kind = std::get_if<ResourceKind>(&split->first)) return NamedObject{*kind, split->second};
    }
    return NamedObject{std::nullopt, std::string(text)};
}

Result<std::vector<NamedObjects>> read_objects(std::span<const std::string> words, bool alone) {
    std::vector<NamedObjects> out;
    const auto add = [&](ResourceKind kind, std::string name) {
        if (out.empty() || out.back().kind != kind) out.push_back({kind, {}});
        out.back().names.push_back(std::move(name));
    };
    // A kind comes first and alone; the names after it are of that kind.
    ResourceKind kind = ResourceKind::pipeline;
    if (const auto first = words.empty() ? std::nullopt : find_kind(words.front()); first && (alone || words.size() > 1)) {
        Result<ResourceKind> wanted = declared(*first);
        if (!wanted) return wanted.error();
        kind = *wanted;
        words = words.subspan(1);
        if (words.empty()) out.push_back({kind, {}});
    }
    for (const std::string& word : words) {
        const auto split = split_name(word);
        if (!split) {
            add(kind, word);
            continue;
        }
        Result<ResourceKind> wanted = declared(split->first);
        if (!wanted) return wanted.error();
        if (split->second.empty()) return invalid(fmt::format("\"{}\": a name is missing", word));
        add(*wanted, split->second);
    }
    return out;
}

}  // namespace homeostat
