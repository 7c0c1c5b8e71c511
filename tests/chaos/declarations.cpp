#include "tests/chaos/declarations.hpp"

#include <fmt/format.h>

#include <array>
#include <chrono>
#include <fstream>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>

namespace homeostat::chaos {

namespace {

using Json = nlohmann::json;

constexpr std::array kNames{"g1", "g2", "g3", "g4", "g5"};

// What names something of this world: mostly what is there, now and then what is not.
const std::map<std::string, std::vector<Json>>& words() {
    static const std::map<std::string, std::vector<Json>> table{
        {"source", {"plain", "parts", "named", "pairs", "viewed_shown", "swept", "public.plain", "nowhere"}},
        {"key", {"id", "id", "name", Json::array({"tenant", "name"}), "body", "nothing"}},
        {"content", {"body", "body", Json::array({"body", "body"}), "seen", "nothing"}},
        {"chunkContext", {"{id}", "Seen as {body} / {{x}}", "no column", "{nothing}", "}"}},
        {"template", {"{body}", "# {body}\n\n{{seen}}", "no column", "{nothing}", "{"}},
        {"metadataColumns", {"seen", "id", "nothing"}},
        {"versionColumn", {"seen", "version", "nothing"}},
        {"provider", {"fake", "fake", "other", "hashing", "nobody"}},
        {"model", {"m", "n", "hashing"}},
        {"dimensions", {16, 16, 1, 384, 2'000, 2'001, 4'000, 4'001, 16'000}},
        {"dependsOn", {"g1", "g2", Json::array({"g3", "g4"}), "plain", "nobody"}},
        {"captureFrom", {Json::array(), Json::array({{{"table", "viewed"}, {"key", {{"id", "id"}}}}})}},
        {"chunker", {"whole", "fixed", "sentence", "markdown", "program:none", "program:", "sentense"}},
        // At whose bounds nothing would ever be swept again, or a thousand documents be cut into single letters.
        {"chunkSize", {1, 2, 20, 400, 1'000'000}},
        {"driftInterval", {"10s", "11s", "1m", "1d", "9s", "0"}},
        {"sweepInterval", {"10s", "1h", "30d", "0"}},
        {"deepInterval", {"10s", "1h", "365d", "0"}},
        {"maxStaleness", {"0", "1ms", "10s", "1d"}}};
    return table;
}

Json value_of(Dice& dice, const std::string& name, const Json& schema) {
    if (const auto known = words().find(name); known != words().end()) return dice.of(known->second);
    if (schema.contains("enum"))
        return schema["enum"][static_cast<std::size_t>(dice.below(static_cast<int>(schema["enum"].size())))];
    const std::string type = schema.value("type", "");
    if (type == "integer") {
        const auto low = schema.value("minimum", std::int64_t{-1'000});
        const auto high = schema.value("maximum", std::numeric_limits<std::int64_t>::max());
        const std::array<std::int64_t, 6> at{
            low, low + 1, high, high - 1, std::min<std::int64_t>(high, low + 50), schema.value("default", low)};
        return dice.of(at);
    }
    if (type == "number") {
        const auto low = schema.value("minimum", 0.0);
        const auto high = schema.value("maximum", 1.0);
        return dice.of(std::array{low, high, (low + high) / 2, low + (high - low) / 1'000});
    }
    if (type == "boolean") return dice.one_in(2);
    if (type == "string") return "x";
    throw std::runtime_error(
        fmt::format("nothing is known of the property \"{}\" of manifests/schema.json: teach "
                    "tests/chaos/declarations.cpp what it may be\n",
                    name));
}

const Json& schema() {
    static const Json read = [] {
        std::ifstream in(HOMEOSTAT_SOURCE_DIR "/manifests/schema.json");
        return Json::parse(in);
    }();
    return read;
}

}  // namespace

Declarations::Declarations(World& world) : world_(world), dice_(world.options().seed * 31 + 5) {}

std::string Declarations::manifest(const std::string& name) {
    const Json& properties = schema()["definitions"]["Pipeline"]["properties"]["spec"]["properties"];
    // Something that works, of which a few things are chosen otherwise.
    Json spec{{"source", "plain"},
              {"key", "id"},
              {"content", "body"},
              {"provider", "fake"},
              {"target", "public." + name + "_served"},
              {"driftInterval", "10s"},
              {"maxPruneRatio", 1}};
    const auto n = static_cast<int>(properties.size());
    for (int i = dice_.between(0, 5); i > 0; --i) {
        const auto property = std::next(properties.begin(), dice_.below(n));
        if (property.key() == "target") continue;
        spec[property.key()] = value_of(dice_, property.key(), property.value());
        if (property.key() == "template") spec.erase("content");
    }
    return Json{{"apiVersion", "homeostat.dev/v1"}, {"kind", "Pipeline"}, {"metadata", {{"name", name}}}, {"spec", spec}}.dump();
}

void Declarations::apply(const std::string& name) {
    const std::string file = fmt::format("{}/seed-{}-manifest.json", world_.options().logs, world_.options().seed);
    const std::string text = manifest(name);
    std::ofstream(file) << text << '\n';
    const kit::Program program(world_.db().url());
    const kit::Program::Outcome outcome = program.run({"apply", "-f", file});
    world_.note(fmt::format("apply {} ends with {}: {}", text, outcome.exit.code, outcome.output));
    if (outcome.exit.code == 0) {
        ++applied_;
        return;
    }
    ++refused_;
    if (outcome.exit.signal != 0 || outcome.output.empty() || outcome.output.find("please report") != std::string::npos)
        wrong_.push_back(
            fmt::format("apply {} ends with {}, signal {}: {}", text, outcome.exit.code, outcome.exit.signal, outcome.output));
}

std::vector<std::string> Declarations::play() {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(world_.options().seconds);
    while (std::chrono::steady_clock::now() < end) {
        const std::string name = dice_.of(kNames);
        if (!dice_.one_in(6)) {
            apply(name);
            continue;
        }
        try {
            kit::Sql(world_.db().url()).exec(fmt::format("DELETE FROM homeostat.pipeline WHERE name = '{}'", name));
            world_.note("deleted " + name);
        } catch (const std::exception& e) {  // others may depend on it
            world_.note(fmt::format("{} is not deleted: {}", name, e.what()));
        }
    }
    return wrong_;
}

std::vector<std::string> Declarations::settle() {
    // Converged, or a reason with its sentence that is not just "at it".
    constexpr const char* kUnsettled = R"sql(
        SELECT s.name || ': ' || s.kstatus || ' ' || s.ready || ' ' || s.reason || ': ' || s.message
        FROM homeostat.pipelines s
        WHERE s.kstatus <> 'Current'
          AND NOT (s.reason IN ('Suspended', 'DependencyNotReady', 'ProviderRefused', 'BadAnswer', 'ContentRefused', 'RightMissing',
                                'SourceUnusable', 'AmbiguousKey', 'TargetInUse', 'SpecInvalid', 'Incomplete', 'DeadLetters', 'Unsteady',
                                'Stale') AND s.message <> ''))sql";
    std::vector<std::string> left;
    kit::eventually(
        [&] {
            left.clear();
            try {
                for (const kit::Row& row : world_.db().query(kUnsettled)) left.push_back(row[0].value_or("?"));
            } catch (const std::exception& e) {
                world_.db().reconnect();
                left = {e.what()};
            }
            return left.empty();
        },
        std::chrono::seconds(world_.options().patience));
    return left;
}

}  // namespace homeostat::chaos
