// Chaos from a seed: writers write, things go wrong, and an auditor compares every answer with the history of what was committed.
// Exit code 1 where anything was refuted; the last lines say how to play that seed again.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <filesystem>

#include "tests/chaos/auditor.hpp"
#include "tests/chaos/chaos_world.hpp"
#include "tests/chaos/faults.hpp"
#include "tests/chaos/workload.hpp"

namespace homeostat::chaos {
namespace {

constexpr std::chrono::seconds kPatience{90};

// What one seed refuted; empty where all was well.
std::vector<std::string> play(kit::Cluster& cluster, const Options& options) {
    World world(cluster, options);
    std::vector<std::string> wrong;
    const auto keep = [&](std::string_view who, const std::vector<std::string>& what) {
        for (const std::string& w : what) wrong.push_back(fmt::format("{}: {}", who, w));
    };
    for (int i = 0; i < options.replicas; ++i) world.start_replica(i);
    Auditor auditor(world);
    Workload workload(world, 2);
    std::optional<Faults> faults;
    if (options.faults) faults.emplace(world);
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(options.seconds);
    while (std::chrono::steady_clock::now() < end) {
        for (int i = 0; i < options.replicas; ++i) {
            // Only the faults' own thread stops and starts replicas; without faults nobody does.
            if (faults) break;
            if (const auto ended = world.ended_badly(i)) keep("replica", {*ended});
        }
        kit::pause_briefly();
    }
    if (faults) faults->stop();
    keep("writer", workload.stop());
    world.note("nothing goes wrong any more, and nobody writes");
    const auto rest = std::chrono::steady_clock::now();
    keep("at rest", audit_at_rest(world, kPatience));
    const double rested = std::chrono::duration<double>(std::chrono::steady_clock::now() - rest).count();
    keep("auditor", auditor.stop());
    for (int i = 0; i < options.replicas; ++i) {
        if (const auto ended = world.ended_badly(i)) keep("replica", {*ended});
    }
    fmt::print("seed {}: {} transactions, {} looks, {} promises checked, {} texts embedded, at rest after {:.1f} s: {}\n",
               options.seed, workload.committed(), auditor.looks(), auditor.promises(),
               world.endpoint().texts() + world.other().texts(), rested, wrong.empty() ? "good" : "WRONG");
    if (!wrong.empty()) world.keep_logs();
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
    bool no_faults = false;
    bool no_feeds = false;
    app.add_flag("--no-faults", no_faults, "writers only");
    app.add_flag("--no-feeds", no_feeds, "every source is swept");
    CLI11_PARSE(app, argc, argv);
    options.faults = !no_faults;
    options.feeds = !no_feeds;
    std::filesystem::create_directories(options.logs);

    kit::Cluster cluster({"track_commit_timestamp=on", "fsync=off"});
    int failed = 0;
    const auto begun = std::chrono::steady_clock::now();
    for (int n = 0;
         minutes > 0 ? std::chrono::steady_clock::now() - begun < std::chrono::duration<double>(minutes * 60) : n < seeds;
         ++n, ++options.seed) {
        const std::vector<std::string> wrong = play(cluster, options);
        if (wrong.empty()) continue;
        ++failed;
        for (const std::string& w : wrong) fmt::print("  {}\n", w);
        fmt::print(
            "  again: scripts/chaos --seed {} --seconds {} --replicas {} --documents {} --edits {}{}{}\n  logs: {}/seed-{}-*\n",
            options.seed, options.seconds, options.replicas, options.documents, options.edits,
            options.faults ? "" : " --no-faults", options.feeds ? "" : " --no-feeds", options.logs, options.seed);
        std::fflush(stdout);
    }
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
