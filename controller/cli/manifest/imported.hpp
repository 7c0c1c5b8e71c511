// What another tool's catalogue says, as manifests of ours and as the command that takes its vectors over. Pure.
//
// What cannot be said here is a note; what cannot be used without it is a reason for which the whole of it is printed as a
// comment.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "controller/config/config_yaml.hpp"
#include "store/inspect/foreign_catalogues.hpp"

namespace homeostat {

struct ImportedPipeline {
    std::string name;
    YamlNode manifest;
    std::vector<std::string> notes;     // sentences, without a full stop
    std::optional<std::string> reason;  // why it is not usable as it is
    std::string adopt;                  // the command; "" where there are no vectors to take over
};

class Importer {
public:
    // Where a provider is declared here already: its name is all that is said of it.
    explicit Importer(std::optional<std::string> provider = std::nullopt) : given_(std::move(provider)) {}
    ImportedPipeline pipeline(const ForeignVectorizer& v);
    // Of the pipelines so far, each once.
    const std::vector<YamlNode>& providers() const noexcept { return providers_; }

private:
    std::string provider_of(const ForeignVectorizer& v, ImportedPipeline& out);

    std::optional<std::string> given_;
    std::vector<YamlNode> providers_;
    std::map<std::string, std::string> names_;  // of providers, by what they are
};

// "$title: $chunk" of Python's templates as a template of ours, {column} for $chunk; nullopt where it is none.
std::optional<std::string> translated_template(const std::string& format, const std::string& content);

}  // namespace homeostat
