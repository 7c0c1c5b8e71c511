// Chaos from a seed: writers write, things go wrong, and an auditor compares every answer with the history of what was committed.
// Exit code 1 where anything was refuted; the last lines say how to play that seed again.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <sstream>

#include "tests/chaos/auditor.hpp"
#include "tests/chaos/chaos_world.hpp"
#include "tests/chaos/declarations.hpp"
#include "tests/chaos/faults.hpp"
#include "tests/chaos/variants.hpp"
#include "tests/chaos/workload.hpp"

namespace homeostat::chaos {
namespace {

constexpr double kMostPaid = 1.5;  // texts for each version of a document

using Wrong = std::vector<std::string>;

void keep(Wrong& wrong, std::string_view who, const Wrong& what) {
    for (const std::string& w : what) wrong.push_back(fmt::format("{}: {}", who, w));
}

void last_events(const World& world) {
    const std::vector<std::string> notes = world.notes();
    fmt::print("  last events:\n");
    for (std::size_t i = notes.size() - std::min<std::size_t>(notes.size(), 12); i < notes.size(); ++i)
        fmt::print("    {}\n", notes[i].substr(0, 200));
}

// Workload or Variants, beside faults and the auditor, to the end and at rest.
template <class Writers>
Wrong play_writers(World& world, std::string& figures) {
    const Options& options = world.options();
    Wrong wrong;
    Auditor auditor(world);
    Writers writers(world);
    std::optional<Faults> faults;
    if (options.faults) faults.emplace(world);
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(options.seconds);
    while (std::chrono::steady_clock::now() < end) kit::pause_briefly();
    if (faults) faults->stop();
    keep(wrong, "writer", writers.stop());
    world.note("nothing goes wrong any more, and nobody writes");
    const auto rest = std::chrono::steady_clock::now();
    keep(wrong, "at rest", audit_at_rest(world));
    const double rested = std::chrono::duration<double>(std::chrono::steady_clock::now() - rest).count();
    keep(wrong, "auditor", auditor.stop());
    const std::uint64_t texts = world.endpoint().texts() + world.other().texts();
    const double ratio = static_cast<double>(texts) / static_cast<double>(std::max<std::uint64_t>(versions_committed(world), 1));
    // Without faults nothing is paid for twice, but for what is edited while it is on its way.
    if (!options.faults && ratio > kMostPaid) wrong.push_back(fmt::format("paid: {} texts, {:.2f} a version", texts, ratio));
    figures = fmt::format(
        "{} transactions, {} looks, {} promises ({} beside a fill), {} texts ({:.2f} a version), at rest after {:.1f} s",
        writers.committed(), auditor.looks(), auditor.promises(), auditor.beside(), texts, ratio, rested);
    return wrong;
}

Wrong play_variants(World& world, std::string& figures) {
    Wrong wrong = play_writers<Variants>(world, figures);
    keep(wrong, "variants", Variants::unequal(world));
    return wrong;
}

Wrong play_declarations(World& world, std::string& figures) {
    Wrong wrong;
    Declarations declarations(world);
    keep(wrong, "declarations", declarations.play());
    keep(wrong, "not settled", declarations.settle());
    figures = fmt::format("{} declarations applied, {} refused", declarations.applied(), declarations.refused());
    return wrong;
}

// What one seed refuted; empty where all was well.
Wrong play(kit::Cluster& cluster, const Options& options) {
    World world(cluster, options);
    for (int i = 0; i < options.replicas; ++i) world.start_replica(i);
    std::string figures;
    Wrong wrong = options.play == Play::variants       ? play_variants(world, figures)
                  : options.play == Play::declarations ? play_declarations(world, figures)
                                                       : play_writers<Workload>(world, figures);
    world.look_after_replicas();
    keep(wrong, "replica", world.broken());
    fmt::print("seed {}: {}: {}\n", options.seed, figures, wrong.empty() ? "good" : "WRONG");
    for (const std::string& w : wrong) fmt::print("  {}\n", w.substr(0, 600));
    if (!wrong.empty()) {
        world.keep_logs();
        last_events(world);
    }
    std::fflush(stdout);
    return wrong;
}

int main(int argc, char** argv) {
    Options options;
    int seeds = 1;
    double minutes = 0;
    options.logs = (std::filesystem::temp_directory_path() / fmt::format("homeostat-chaos-{}", getpid())).string();
    CLI::App app{"Chaos from a seed"};
    app.add_option("--seed", options.seed, "the first seed");
    app.add_option("--seeds", seeds, "how many seeds, one after the other");
    app.add_option("--minutes", minutes, "as many seeds as begin within so many minutes");
    app.add_option("--seconds", options.seconds, "of workload and faults, a seed");
    app.add_option("--replicas", options.replicas, "replicas of the program");
    app.add_option("--documents", options.documents, "rows of each table");
    app.add_option("--edits", options.edits, "transactions a second");
    app.add_option("--logs", options.logs, "folder for the logs of seeds that fail");
    app.add_option("--promise", options.promise, "seconds that an edit may wait without the status saying so");
    app.add_option("--look", options.look, "seconds between looks at a source for what nobody named");
    app.add_option("--latency", options.latency, "milliseconds that the provider takes; -1: by the seed");
    app.add_option("--patience", options.patience, "seconds until everything is at rest");
    std::string faults;
    app.add_option("--faults", faults,
                   "which faults, with commas between them, or none: " + fmt::format("{}", fmt::join(Faults::names(), ", ")));
    bool variants = false;
    app.add_flag("--variants", variants, "the same edits in several ways, which must end in equal tables");
    bool declarations = false;
    app.add_flag("--declarations", declarations, "declarations made from the schema of manifests");
    bool no_faults = false;
    bool no_feeds = false;
    app.add_flag("--no-faults", no_faults, "writers only");
    app.add_flag("--no-feeds", no_feeds, "every source is swept");
    CLI11_PARSE(app, argc, argv);
    options.faults = !no_faults && faults != "none";
    std::istringstream list(faults);
    for (std::string name; options.faults && std::getline(list, name, ',');) {
        const auto known = Faults::names();
        if (std::ranges::find(known, name) == known.end()) throw std::runtime_error("there is no fault \"" + name + "\"\n");
        options.only.push_back(name);
    }
    options.feeds = !no_feeds;
    options.play = variants ? Play::variants : declarations ? Play::declarations : Play::writers;
    std::filesystem::create_directories(options.logs);

    options.disks = kit::SmallDisk::prepare();
    if (!options.disks && options.faults) fmt::print("no disk is filled: that takes root and a mount\n");
    kit::Cluster cluster({"track_commit_timestamp=on", "fsync=off"});
    int failed = 0;
    int played = 0;
    const auto begun = std::chrono::steady_clock::now();
    for (int n = 0;
         minutes > 0 ? std::chrono::steady_clock::now() - begun < std::chrono::duration<double>(minutes * 60) : n < seeds;
         ++n, ++options.seed) {
        ++played;
        const std::vector<std::string> wrong = play(cluster, options);
        if (wrong.empty()) continue;
        ++failed;
        fmt::print(
            "  again: scripts/chaos --seed {} --seconds {} --replicas {} --documents {} --edits {} --look {} --latency "
            "{}{}{}{}{}\n  logs: "
            "{}/seed-{}-*\n",
            options.seed, options.seconds, options.replicas, options.documents, options.edits, options.look, options.latency,
            options.faults ? "" : " --no-faults", options.feeds ? "" : " --no-feeds",
            variants       ? " --variants"
            : declarations ? " --declarations"
                           : "",
            options.only.empty() ? "" : " --faults " + faults, options.logs, options.seed);
        std::fflush(stdout);
    }
    fmt::print("{} of {} seeds were good\n", played - failed, played);
    return failed == 0 ? 0 : 1;
}

}  // namespace
}  // namespace homeostat::chaos

int main(int argc, char** argv) {
    try {
        return homeostat::chaos::main(argc, argv);
    } catch (const std::exception& e) {
        std::fputs(e.what(), stderr);
        return 2;
    }
}
