// The kinds of objects as people type them: pipeline, pipelines, pl; provider, providers, pv; targetview, targetviews, tv; and
// what can only be listed: events, runs, replicas, batches, revisions, leases, deadletters. Pure.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "store/control/resources.hpp"
#include "store/inspect/listings.hpp"

namespace homeostat {

Result<ResourceKind> read_kind(std::string_view word);
std::string_view kind_word(ResourceKind kind);  // pipeline, provider, targetview
std::string_view kind_word(ListingKind kind);   // event, run, ...
std::string_view kind_title(ResourceKind kind);  // as manifests have it: Pipeline, Provider, TargetView
std::string_view kind_title(ListingKind kind);
// Every word that names a kind, as completion offers it: one a kind, plural.
std::vector<std::string_view> kind_words(bool declared_only);

// What can be listed: declared objects, and what the controller writes about them.
using AnyKind = std::variant<ResourceKind, ListingKind>;
std::optional<AnyKind> find_kind(std::string_view word);  // in any case, as kubectl takes it
Error unknown_kind(std::string_view word);

// NAME, or KIND/NAME as answers print it.
struct NamedObject {
    std::optional<ResourceKind> kind;
    std::string name;
};
NamedObject read_object_name(std::string_view text);

// What a command line names after its verb: KIND, KIND NAME..., KIND/NAME..., or NAME... of pipelines. A word that is no kind is
// the name of a pipeline.
struct NamedObjects {
    ResourceKind kind = ResourceKind::pipeline;
    std::vector<std::string> names;
};
// `alone`: whether a kind without a name means something.
Result<std::vector<NamedObjects>> read_objects(std::span<const std::string> words, bool alone);

}  // namespace homeostat
