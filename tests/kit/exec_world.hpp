// An exec provider over homeostat_exec_program, and eyes for what it leaves behind: processes, descriptors, folders. One thread.
#pragma once

#include <gtest/gtest.h>

#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "reconcilers/embed/exec.hpp"
#include "tests/kit/io_thread.hpp"
#include "tests/kit/sim_clock.hpp"
#include "tests/kit/soon.hpp"

namespace homeostat::kit {

// Processes that are children of this one (zombies too), or carry the mark among their arguments, wherever they hang in the tree.
inline std::size_t processes(const std::string& mark) {
    std::error_code ec;
    const std::string self = std::filesystem::read_symlink("/proc/self", ec).string();
    std::size_t n = 0;
    for (std::filesystem::directory_iterator at("/proc", ec), end; at != end; at.increment(ec)) {
        const auto& folder = at->path();
        const std::string pid = folder.filename();
        if (pid.find_first_not_of("0123456789") != std::string::npos || pid == self) continue;
        std::string stat;
        std::getline(std::ifstream(folder / "stat"), stat);
        const std::size_t name_end = stat.rfind(')');  // "pid (name) state parent ..."
        const bool ours = name_end != std::string::npos && stat.compare(name_end + 4, self.size() + 1, self + " ") == 0;
        // A process that goes while it is read makes the buffer throw; an inserter takes that as the end, an iterator lets it
        // out.
        std::ostringstream line;
        line << std::ifstream(folder / "cmdline").rdbuf();
        if (ours || line.str().find(mark) != std::string::npos) ++n;
    }
    return n;
}

inline std::size_t entries(const std::filesystem::path& folder, const std::string& beginning = "") {
    std::size_t n = 0;
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
        if (entry.path().filename().string().starts_with(beginning)) ++n;
    }
    return n;
}

// Folders of programs are made below a temporary folder of this test's own, so that nobody else's are counted.
class ExecWorld {
public:
    ExecWorld() : tracer(&recorder, clock) {
        temporary = std::filesystem::temp_directory_path() / "homeostat-exec-test-XXXXXX";
        std::string path = temporary.string();
        if (mkdtemp(path.data()) == nullptr) throw std::runtime_error("no temporary folder");
        temporary = path;
        ::setenv("TMPDIR", path.c_str(), 1);
        mark = "mark-" + temporary.filename().string();
        flag = temporary / "spoilt";
        std::ofstream(flag) << "yes";
        spec.name = "x";
        spec.kind = "exec";
        spec.max_in_flight = 2;
        spec.timeout = std::chrono::milliseconds(20'000);
        options.rules = {.allow = {HOMEOSTAT_EXEC_PROGRAM, "/nope", "/usr/bin/python3", flag.string()},
                         .read = {std::string(HOMEOSTAT_SOURCE_DIR) + "/docs/examples/embed.py"},
                         .environment = {"HOMEOSTAT_TEST_NAMED", "HOMEOSTAT_TEST_NEVER_SET"}};
        mode("good");
        const boost::asio::steady_timer first(io.executor());  // the executor's own descriptors are made with its first timer
        descriptors_before_ = entries("/proc/self/fd");
    }
    ~ExecWorld() {
        made.reset();
        EXPECT_TRUE(nothing_left()) << processes(mark) << " processes, " << folders() << " folders, " << entries("/proc/self/fd")
                                    << " descriptors of " << descriptors_before_;
        ::unsetenv("TMPDIR");
        std::filesystem::remove_all(temporary);
    }
    ExecWorld(const ExecWorld&) = delete;
    ExecWorld& operator=(const ExecWorld&) = delete;

    void mode(const std::string& name) { spec.command = {HOMEOSTAT_EXEC_PROGRAM, name, flag.string(), mark}; }
    // From now on the program behaves.
    void repair() { std::filesystem::remove(flag); }
    void spoil() { std::ofstream(flag) << "yes"; }
    // Also what the harmless text is answered with.
    void spoil_probe() { std::ofstream(flag.string() + ".probe") << "yes"; }

    Result<std::unique_ptr<ExecEmbedder>> make() {
        return make_exec_embedder(spec, "test-model", 8, io.executor(), clock, {registry, tracer}, options);
    }
    ExecEmbedder& embedder() {
        if (!made) {
            auto result = make();
            if (!result) throw std::runtime_error(result.error().message);
            made = *std::move(result);
        }
        return *made;
    }
    Result<Embeddings> embed(const std::vector<std::string>& texts, TextRole role = TextRole::document, Context context = {}) {
        return io.run(embedder().embed(texts, role, context));
    }
    Error error(const std::vector<std::string>& texts = {"one", "two"}, Context context = {}) {
        auto result = embed(texts, TextRole::document, context);
        if (result) return internal_error("it worked");
        return result.error();
    }

    std::size_t running() const { return processes(mark); }
    std::size_t folders() const { return entries(temporary, "homeostat-exec-"); }
    // Also the descriptors of this process: what was opened for a program is closed with it.
    bool nothing_left() const {
        return soon([&] { return running() == 0 && folders() == 0 && entries("/proc/self/fd") <= descriptors_before_; });
    }

    std::filesystem::path temporary;
    std::filesystem::path flag;
    std::string mark;
    SimulatedClock clock;
    SpanRecorder recorder;
    Tracer tracer;
    Registry registry;
    ProviderSpec spec;
    ExecOptions options;
    IoThread io;
    std::unique_ptr<ExecEmbedder> made;

private:
    std::size_t descriptors_before_ = 0;
};

}  // namespace homeostat::kit
