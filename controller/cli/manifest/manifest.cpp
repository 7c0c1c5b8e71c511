#include "controller/cli/manifest/manifest.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>

#include "controller/cli/manifest/manifest_schema.hpp"

namespace homeostat {

namespace {

namespace fs = std::filesystem;

std::string_view kind_name(ResourceKind kind) {
    switch (kind) {
        case ResourceKind::provider: return "Provider";
        case ResourceKind::target_view: return "TargetView";
        case ResourceKind::pipeline: break;
    }
    return "Pipeline";
}

std::vector<std::string> names_of(const YamlNode* node) {
    if (node == nullptr) return {};
    if (node->kind == YamlNode::Kind::text) return {node->scalar};
    std::vector<std::string> names;
    for (const YamlNode& item : node->items) names.push_back(item.scalar);
    return names;
}

// A document, or each item of a `kind: List`, which is how several objects stand in one JSON text.
template <class F>
void for_each_object(const YamlNode& document, F f) {
    const YamlNode* kind = document.find("kind");
    const YamlNode* items = document.find("items");
    if (kind != nullptr && kind->scalar == "List" && items != nullptr) {
        for (const YamlNode& item : items->items) f(item);
    } else {
        f(document);
    }
}

std::string joined(const std::vector<std::string>& lines) {
    std::string out;
    for (const std::string& line : lines) out += (out.empty() ? "" : "\n") + line;
    return out;
}

// Schemas of manifests are kept beside them, and are none.
bool is_schema(const fs::path& file) {
    std::ifstream in(file);
    const std::string text{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
    return text.find("\"$schema\"") != std::string::npos;
}

template <class Entries>
std::vector<std::string> manifests_among(const Entries& entries) {
    std::vector<std::string> files;
    for (const auto& entry : entries) {
        const std::string extension = entry.path().extension().string();
        if (extension == ".yaml" || extension == ".yml" || (extension == ".json" && !is_schema(entry.path())))
            files.push_back(entry.path().string());
    }
    return files;
}

Result<std::vector<std::string>> files_of(const std::string& path, bool recursive) {
    std::error_code problem;
    if (path == "-" || !fs::is_directory(path, problem)) return std::vector<std::string>{path};
    std::vector<std::string> files;
    try {
        files =
            recursive ? manifests_among(fs::recursive_directory_iterator(path)) : manifests_among(fs::directory_iterator(path));
    } catch (const fs::filesystem_error& e) {
        return invalid(fmt::format("{}: the directory cannot be read ({})", path, e.code().message()));
    }
    if (files.empty()) {
        return invalid(fmt::format("{}: there is no .yaml or .json file in this directory{}", path,
                                   recursive ? "" : "; -R looks into those below it too"));
    }
    std::sort(files.begin(), files.end());
    return files;
}

Result<std::string> text_of(const std::string& file, std::istream& in) {
    if (file == "-") return std::string{std::istreambuf_iterator<char>(in), {}};
    std::ifstream stream(file, std::ios::binary);
    if (!stream) return invalid(fmt::format("{}: the file cannot be read; check the name and the rights", file));
    return std::string{std::istreambuf_iterator<char>(stream), {}};
}

// Depth first over depends_on; a name that is met again on its own path closes a circle.
class Order {
public:
    explicit Order(std::vector<Manifest>& all) : all_(all), state_(all.size(), State::fresh) {
        for (std::size_t i = 0; i < all.size(); ++i) {
            if (all[i].object.kind == ResourceKind::pipeline) index_[all[i].object.name] = i;
        }
    }

    Status visit(std::size_t i) {
        if (state_[i] == State::done) return {};
        path_.push_back(all_[i].object.name);
        if (state_[i] == State::open) {
            const auto start = std::find(path_.begin(), path_.end(), path_.back());
            std::string circle;
            for (auto name = start; name != path_.end(); ++name) circle += (circle.empty() ? "" : " -> ") + *name;
            return invalid(
                fmt::format("{}: Pipeline \"{}\": it would wait for itself: {}", all_[i].origin, path_.back(), circle));
        }
        state_[i] = State::open;
        for (const std::string& name : all_[i].depends_on) {
            const auto found = index_.find(name);
            if (found == index_.end()) continue;  // it may exist already; the database knows
            if (auto good = visit(found->second); !good) return good;
        }
        state_[i] = State::done;
        path_.pop_back();
        sorted.push_back(std::move(all_[i]));
        return {};
    }

    std::vector<Manifest> sorted;

private:
    enum class State : std::uint8_t { fresh, open, done };
    std::vector<Manifest>& all_;
    std::vector<State> state_;
    std::map<std::string, std::size_t> index_;
    std::vector<std::string> path_;
};

}  // namespace

Result<std::vector<Manifest>> read_manifest(std::string_view text, std::string_view file) {
    auto documents = read_yaml(text, file);
    if (!documents) return std::move(documents).error();
    std::vector<Manifest> manifests;
    std::vector<std::string> problems;
    for (const YamlNode& document : *documents) {
        for_each_object(document, [&](const YamlNode& node) {
            auto found = check_manifest(node, file);
            problems.insert(problems.end(), found.begin(), found.end());
            if (!found.empty()) return;
            manifests.push_back({.object = declared_object(node),
                                 .depends_on = names_of(node.find("spec")->find("dependsOn")),
                                 .origin = fmt::format("{}:{}", file, node.line)});
        });
    }
    if (!problems.empty()) return invalid(joined(problems));
    return manifests;
}

Result<std::vector<Manifest>> read_manifests(const std::vector<std::string>& paths, std::istream& in, bool recursive) {
    std::vector<Manifest> all;
    std::vector<std::string> problems;
    for (const std::string& path : paths) {
        auto files = files_of(path, recursive);
        if (!files) {
            problems.push_back(files.error().message);
            continue;
        }
        for (const std::string& file : *files) {
            auto text = text_of(file, in);
            auto manifests =
                text ? read_manifest(*text, file == "-" ? "stdin" : file) : Result<std::vector<Manifest>>(text.error());
            if (!manifests) {
                problems.push_back(manifests.error().message);
                continue;
            }
            std::move(manifests->begin(), manifests->end(), std::back_inserter(all));
        }
    }
    if (!problems.empty()) return invalid(joined(problems));
    if (all.empty()) return invalid("nothing is declared there; a manifest has apiVersion, kind, metadata and spec");
    return in_order(std::move(all));
}

Result<std::vector<Manifest>> in_order(std::vector<Manifest> manifests) {
    std::map<std::pair<ResourceKind, std::string>, std::string> seen;
    for (const Manifest& m : manifests) {
        const auto [first, fresh] = seen.try_emplace({m.object.kind, m.object.name}, m.origin);
        if (!fresh) {
            return invalid(fmt::format("{}: {} \"{}\" is declared twice (first in {})", m.origin, kind_name(m.object.kind),
                                       m.object.name, first->second));
        }
    }
    Order order(manifests);
    for (const ResourceKind kind : {ResourceKind::provider, ResourceKind::pipeline, ResourceKind::target_view}) {
        for (std::size_t i = 0; i < manifests.size(); ++i) {
            // What was visited has been moved from, but its kind is still there.
            if (manifests[i].object.kind != kind) continue;
            if (auto good = order.visit(i); !good) return std::move(good).error();
        }
    }
    return std::move(order.sorted);
}

}  // namespace homeostat
