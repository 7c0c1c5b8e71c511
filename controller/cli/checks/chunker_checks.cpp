// Checks of `doctor` and `run` for chunkers that are programs: is the program that a pipeline names registered, here or with a
// running replica, and does it cut a harmless text?
#include <fmt/core.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <exception>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "controller/cli/checks/doctor_checks.hpp"
#include "controller/config/chunkers.hpp"
#include "controller/seen_replica.hpp"
#include "store/control/replicas.hpp"
#include "store/control/resources.hpp"

namespace homeostat {

namespace {

namespace asio = boost::asio;
using Json = nlohmann::ordered_json;

constexpr std::chrono::milliseconds kPatience{10'000};
constexpr const char* kText = "homeostat doctor";

using Cut = std::optional<Result<std::vector<CutText>>>;

asio::awaitable<void> ask(ExecChunker& chunker, const std::vector<std::string_view>& texts, Cut& answer) {
    Context context;  // named: a temporary here is destroyed twice by g++ 12
    CutRules rules;
    answer = co_await chunker.cut(texts, std::move(rules), std::move(context));
}

// Programs that it started have ended when it returns.
Result<std::size_t> ask_chunker(const Settings& settings, ChunkerProgram program) {
    const SystemClock clock;
    Registry metrics;
    const Tracer tracer(nullptr, clock);
    asio::io_context io(1);
    program.timeout = std::min(program.timeout, kPatience);
    const auto chunker = make_chunker_maker(settings, io.get_executor(), clock, {metrics, tracer})(program);
    if (!chunker) return chunker.error();
    const std::vector<std::string_view> texts{kText};
    Cut answer;
    std::exception_ptr thrown;
    asio::co_spawn(io, ask(**chunker, texts, answer), [&](const std::exception_ptr& e) {
        thrown = e;
        io.stop();  // an idle program that is kept must not keep us
    });
    io.run();
    if (thrown) std::rethrow_exception(thrown);
    if (!answer) return internal_error("the chunker's answer got lost");
    if (!*answer) return answer->error();
    const CutText& cut = (*answer)->front();
    if (cut.refused) return *cut.refused;
    return cut.chunks.size();
}

// What running replicas reported of their programs: by program, a line "replica: state".
struct Told {
    bool registered = false;
    std::string trouble;
};

std::map<std::string, Told> told_by_replicas(Session& session) {
    std::map<std::string, Told> out;
    const auto replicas = list_replicas(session);
    if (!replicas) return out;
    for (const ReplicaLine& line : *replicas) {
        if (line.silent_for > kReplicaSilent) continue;
        const Json lines = snapshot_json(line).value("chunkers", Json::array());
        for (const Json& l : lines) {
            if (!l.is_object() || !l.contains("name") || !l["name"].is_string()) continue;
            Told& told = out[l["name"].get<std::string>()];
            told.registered = true;
            const auto reason = l.find("reason");
            if (reason == l.end() || !reason->is_string() || reason->get<std::string>().empty()) continue;
            told.trouble +=
                fmt::format("{}replica {}: {}", told.trouble.empty() ? "" : "; ", line.id, reason->get<std::string>());
        }
    }
    return out;
}

Check check_one(const std::string& name, const std::string& used_by, const std::vector<ChunkerProgram>& registered,
                const Told& told, const Settings& settings) {
    const std::string subject = fmt::format("chunker program:{}", name);
    const CheckHealth bad = used_by.empty() ? CheckHealth::warn : CheckHealth::fail;
    const std::string unused = used_by.empty() ? " (used by no pipeline)" : "";
    const auto program =
        std::find_if(registered.begin(), registered.end(), [&](const ChunkerProgram& p) { return p.name == name; });
    if (program != registered.end()) {
        const Result<std::size_t> chunks = ask_chunker(settings, *program);
        if (!chunks) {
            return {
                bad, subject, chunks.error().message + unused,
                "run the program by hand with the request of docs/chunking.md, and see exec.allow and exec.read of the settings"};
        }
        if (told.trouble.empty()) return {CheckHealth::ok, subject, "cuts a harmless text" + unused, ""};
    }
    if (!told.trouble.empty())
        return {bad, subject, told.trouble + unused, "mend the program; it is probed when the quarantine is over"};
    if (told.registered)
        return {CheckHealth::ok, subject, "is registered with the replicas that run, and not in the settings here", ""};
    return {CheckHealth::fail, subject, check_registered("program:" + name, registered).error().message,
            fmt::format("register it in the settings of the replicas, or edit pipeline \"{}\"", used_by)};
}

// Programs that pipelines name, and one that does.
std::map<std::string, std::string> used_programs(const std::vector<PipelineSpec>& pipelines) {
    std::map<std::string, std::string> out;
    for (const PipelineSpec& p : pipelines) {
        const std::string_view name = chunker_program(p.chunker);
        if (!name.empty() && !p.deleting) out.emplace(name, p.name);
    }
    return out;
}

}  // namespace

Checks check_chunkers(Session& session, const Settings& settings) {
    const Result<std::vector<PipelineSpec>> pipelines = list_pipelines(session);
    if (!pipelines) return {{CheckHealth::fail, "chunkers", pipelines.error().message}};
    std::map<std::string, std::string> used = used_programs(*pipelines);
    const std::vector<ChunkerProgram> registered = registered_chunkers(settings);
    for (const ChunkerProgram& p : registered) used.try_emplace(p.name);
    if (used.empty()) return {};
    const std::map<std::string, Told> told = told_by_replicas(session);
    Checks out;
    for (const auto& [name, pipeline] : used) {
        const auto it = told.find(name);
        out.push_back(check_one(name, pipeline, registered, it == told.end() ? Told{} : it->second, settings));
    }
    return out;
}

Checks check_registered_chunkers(Session& session, const Settings& settings) {
    const Result<std::vector<PipelineSpec>> pipelines = list_pipelines(session);
    if (!pipelines) return {{CheckHealth::fail, "chunkers", pipelines.error().message}};
    const std::vector<ChunkerProgram> registered = registered_chunkers(settings);
    Checks out;
    for (const auto& [name, pipeline] : used_programs(*pipelines)) {
        const Status known = check_registered("program:" + name, registered);
        if (known) continue;
        out.push_back({CheckHealth::warn, fmt::format("chunker program:{}", name), known.error().message,
                       fmt::format("register it, or leave pipeline \"{}\" to other replicas", pipeline)});
    }
    return out;
}

}  // namespace homeostat
