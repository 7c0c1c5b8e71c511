// What providers that are not as they should be cost: counts of requests and texts; times as shares of what they may be.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "bench/child.hpp"
#include "bench/measure.hpp"
#include "tests/kit/fake_endpoint.hpp"

namespace homeostat::bench {

namespace {

using Clock = std::chrono::steady_clock;
using kit::FakeAnswer;
using kit::FakeEndpoint;
using kit::Flaw;
using namespace std::chrono_literals;

constexpr std::uint32_t kWidth = 16;
constexpr std::size_t kBatch = 100;  // texts of a request, by default

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }
double ratio(std::uint64_t a, std::uint64_t b) { return static_cast<double>(a) / static_cast<double>(b); }
std::string saying(std::string_view message) { return fmt::format(R"({{"error":{{"message":"{}"}}}})", message); }

// A database with one endpoint and a controller on it.
class World {
public:
    World(std::string program, kit::Cluster& cluster, kit::FakeEndpointOptions options, const std::string& columns = "",
          const std::string& values = "")
        : program_(std::move(program)), db(kit::Schema::migrated, cluster), endpoint(std::move(options)) {
        db.exec(
            fmt::format("INSERT INTO homeostat.provider (name, endpoint, model, dimensions{}) VALUES ('fake', '{}', 'm', {}{})",
                        columns, endpoint.url(), kWidth, values));
    }
    void source(const std::string& name, int documents, int bytes = 40) {
        db.exec(
            fmt::format("CREATE TABLE {0} (id int PRIMARY KEY, body text);"
                        "INSERT INTO {0} SELECT i, '{0} <' || i || '> ' || repeat('x', {2}) FROM generate_series(1, {1}) i",
                        name, documents, bytes));
    }
    void declare(const std::string& name) {
        db.exec(
            fmt::format("INSERT INTO homeostat.pipeline (name, source, content, provider, target, index_method)"
                        " VALUES ('{0}', '{0}', 'body', 'fake', 'public.{0}_vectors', 'none')",
                        name));
    }
    void start(const std::string& secrets = "") {
        std::vector<std::string> command{"/usr/bin/env"};
        if (!secrets.empty()) command.push_back("HOMEOSTAT_SECRETS=" + secrets);
        for (const char* word : {program_.c_str(), "--database"}) command.emplace_back(word);
        command.push_back(db.url());
        for (const char* setting : {"http.listen=", "log.level=error", "database.allow_superuser=true"}) {
            command.emplace_back("--set");
            command.emplace_back(setting);
        }
        command.emplace_back("run");
        run_ = std::make_unique<Child>(command, false);
    }
    void stop() { run_.reset(); }
    // Every document but those that are set aside has the vector of what it says now.
    std::string lacking(const std::string& name) {
        return db.value(fmt::format(
            "SELECT count(*) FROM {0} s WHERE NOT EXISTS (SELECT FROM {0}_vectors v WHERE v.id = s.id AND v.chunk_text ="
            " s.body)",
            name));
    }
    void served(const std::string& name) {
        until(db, fmt::format("SELECT to_regclass('public.{}_vectors') IS NOT NULL", name), "t", 5ms);
    }
    void wait(const std::string& name, const std::string& lacking = "0") {
        served(name);
        const auto end = Clock::now() + 3min;
        while (this->lacking(name) != lacking) {
            check(Clock::now() < end, fmt::format("{}: {} are still lacking", name, this->lacking(name)));
            std::this_thread::sleep_for(5ms);
        }
    }
    // Edits of all that is declared are seen by themselves.
    void fed() {
        until(db,
              "SELECT count(*) FROM homeostat.pipeline p WHERE NOT EXISTS (SELECT FROM homeostat.condition c WHERE c.uid = p.uid "
              "AND"
              " type = 'ChangeFeed' AND reason = 'Active')",
              "0");
    }
    void fill(const std::string& name) {
        declare(name);
        wait(name);
    }
    // From now to the vector of an edit that is made now.
    double edit(const std::string& name, int id) {
        const auto started = Clock::now();
        db.exec(fmt::format("UPDATE {} SET body = 'edited ' || random() WHERE id = {}", name, id));
        wait(name);
        return seconds_since(started);
    }
    std::string letters(const std::string& name) {
        return db.value(fmt::format(
            "SELECT count(*) FROM homeostat.dead_letter JOIN homeostat.pipeline USING (uid) WHERE name = '{}'", name));
    }

private:
    std::string program_;

public:
    kit::Database db;
    FakeEndpoint endpoint;

private:
    std::unique_ptr<Child> run_;
};

struct Bench {
    std::string program;
    kit::Cluster cluster{{"fsync=on", "shared_buffers=256MB", "max_wal_size=2GB"}};
};

struct Way {
    const char* name;
    FakeAnswer answer;
};

std::vector<Way> poisons() {
    return {{"500 NaN", {.status = 500, .body = saying("unsupported value: NaN")}},
            {"500 physical batch",
             {.status = 500, .body = saying("input is too large to process. increase the physical batch size")}},
            {"NaN literal", {.body = R"({"data":[{"index":0,"embedding":[NaN,1]}],"model":"m"})"}},
            {"NaN in one vector", {.flaw = Flaw::nan_vector}},
            {"vector of zeros", {.flaw = Flaw::zero_vector}},
            {"502 page", {.status = 502, .body = "<html>bad gateway</html>"}},
            {"400", {.status = 400, .body = saying("'$.input' is invalid")}},
            {"input[3] too long", {.status = 400, .body = saying("input[3]: maximum context length is 8192 tokens")}},
            {"403 firewall", {.status = 403, .body = "<html>Request blocked</html>"}},
            {"answer cut off", {.flaw = Flaw::truncated}}};
}

struct Poisoned {
    double extra = 0;  // requests a culprit
    std::vector<double> edits;  // of the clean pipeline, seconds
};

// `every`: one document in so many is poison. The clean pipeline of the same provider is edited all the while.
Poisoned poisoned(Bench& bench, const Way& way, int documents, int every) {
    World w(bench.program, bench.cluster, {.dimensions = kWidth, .keep_requests = 1, .delay = 5ms});
    const int culprits = documents / every;
    w.endpoint.when_text("poison", way.answer);
    w.source("clean", 100);
    w.source("docs", documents);
    w.source("control", documents);
    w.db.exec(fmt::format("UPDATE docs SET body = 'poison ' || id WHERE id % {} = {}", every, every / 3));
    w.start();
    w.fill("clean");
    w.fed();
    const auto before = w.endpoint.calls();
    w.fill("control");
    const auto control = w.endpoint.calls() - before;
    const auto begun = w.endpoint.calls();
    Poisoned out;
    w.declare("docs");
    w.served("docs");
    const std::string left = std::to_string(culprits);
    do {
        out.edits.push_back(w.edit("clean", static_cast<int>(out.edits.size() % 100) + 1));
    } while (out.edits.size() < 20 || w.lacking("docs") != left || w.letters("docs") != left);
    const auto asked = static_cast<double>(w.endpoint.calls() - begun - control) - static_cast<double>(out.edits.size());
    check(w.letters("clean") == "0" && w.letters("control") == "0", "dead letters of the poison only");
    out.extra = asked / culprits;
    return out;
}

double percentile(std::vector<double> values, double share) {
    std::sort(values.begin(), values.end());
    return values[std::min(values.size() - 1, static_cast<std::size_t>(share * static_cast<double>(values.size())))];
}

void poison_texts(Bench& bench) {
    const double bar = 2 * std::log2(kBatch);
    double worst = 0;
    std::string worst_way;
    std::vector<double> edits;
    for (const Way& way : poisons()) {
        const Poisoned p = poisoned(bench, way, 250, 250);
        edits.insert(edits.end(), p.edits.begin(), p.edits.end());
        if (p.extra >= worst) worst_way = way.name;
        worst = std::max(worst, p.extra);
    }
    fmt::print(
        "| one poison text in 250, {} ways: all others served; extra requests a culprit, at most | {:.0f} ({}) | | clean edits "
        "p99 "
        "{:.2f} of 1 s ({} edits) | {:.1f}, 1 |\n",
        poisons().size(), worst, worst_way, percentile(edits, 0.99), edits.size(), bar);
    for (const Way& way : {poisons().front(), poisons()[3]}) {
        const Poisoned p = poisoned(bench, way, 10'000, 100);
        fmt::print(
            "| 100 poison texts in 10,000 ({}): extra requests a culprit | {:.1f} | | clean edits p99 {:.2f} of 1 s ({} "
            "edits) | {:.1f}, 1 |\n",
            way.name, p.extra, percentile(p.edits, 0.99), p.edits.size(), bar);
    }
}

void slow_texts(Bench& bench) {
    for (const int documents : {300, 1'000}) {
        World w(bench.program, bench.cluster, {.dimensions = kWidth, .keep_requests = 1, .delay_a_text = 100ms}, ", timeout",
                ", '2 seconds'");
        w.source("docs", documents);
        w.start();
        w.fill("docs");
        const auto n = static_cast<std::uint64_t>(documents);
        fmt::print("| {} texts of 100 ms each, timeout of 2 s, defaults: texts computed for nothing | {} | | {:.1f} % | 5 % |\n",
                   documents, w.endpoint.texts() - n, 100 * ratio(w.endpoint.texts() - n, n));
    }
}

std::vector<Way> reloads() {
    return {{"no models", {.status = 400, .body = saying("No models loaded")}},
            {"failed to load", {.status = 404, .body = saying("Failed to load model")}},
            {"loading", {.status = 503, .body = saying("Loading model")}},
            {"500", {.status = 500}},
            {"detail", {.status = 422, .body = R"({"detail":[{"msg":"no worker"}]})"}},
            {"page", {.flaw = Flaw::html}},
            {"some other time", {.status = 400, .body = saying("come back some other time")}}};
}

void everything_refused(Bench& bench) {
    double worst = 0;
    std::string worst_way;
    int letters = 0;
    for (const Way& way : reloads()) {
        World w(bench.program, bench.cluster, {.dimensions = kWidth, .keep_requests = 1, .delay = 5ms});
        w.source("docs", 500);
        w.start();
        w.fill("docs");
        w.fed();
        w.endpoint.always(way.answer);
        const auto begun = Clock::now();
        for (int i = 1; Clock::now() - begun < 4s; ++i) {
            w.db.exec(fmt::format("UPDATE docs SET body = 'meanwhile {0}' WHERE id = {0} % 500 + 1", i));
            std::this_thread::sleep_for(20ms);
        }
        w.endpoint.forget_script();
        const auto well = Clock::now();
        w.wait("docs");
        if (seconds_since(well) >= worst) worst_way = way.name;
        worst = std::max(worst, seconds_since(well));
        letters += std::stoi(w.letters("docs"));
    }
    fmt::print(
        "| everything refused for 4 s in {} wordings, 50 edits a second meanwhile: dead letters; all healed after it is well, at "
        "most | {}; {:.2f} of 2 s ({}) | | | 0; 1 |\n",
        reloads().size(), letters, worst / 2, worst_way);
}

struct Limited {
    const char* name;
    const char* says;
    std::size_t texts = 0;
    std::uint64_t tokens = 0;
    std::size_t bytes = 0;
    int status = 400;
};

std::vector<Limited> limits() {
    return {
        {"DashScope",
         "<400> InternalError.Algo.InvalidParameter: Value error, batch size is invalid, it should not be larger than "
         "{limit}.: input.contents",
         10},
        {"OpenAI, tokens", "Requested {got} tokens, max {limit} tokens per request", 0, 4'000},
        {"Mistral, tokens", "Too many tokens in batch. Max is {limit} got {got}", 0, 3'000},
        {"API gateway, bytes", "Request body of {got} bytes exceeds the limit of {limit} bytes", 0, 0, 20'000, 413},
        {"Azure",
         "Too many inputs. The max number of inputs is {limit}.  We hope to increase the number of inputs per request soon.", 16},
        {"text-embeddings-inference", "batch size {got} > maximum allowed batch size {limit}", 32, 0, 0, 413},
        {"Cohere", "invalid request: total number of texts must be at most {limit} - received {got}", 96},
        {"Voyage",
         "Request to model 'm' failed. The max allowed tokens per submitted batch is {limit}. Your batch has {got} tokens "
         "after truncation. Please lower the number of tokens in the batch.",
         0, 5'000},
        {"Vertex", "{limit} instance(s) is allowed per prediction. Actual: {got}", 5},
        {"Bedrock",
         "Malformed input request: #/texts: expected maximum item count: {limit}, found: {got}, please reformat your input", 48},
        {"Gemini", "* BatchEmbedContentsRequest.requests: at most {limit} requests can be in one batch", 50},
        {"Zhipu", "input数组最大不得超过{limit}条", 64},
        {"Mistral, texts, no number", "Too many inputs in request, split into more batches.", 40},
    };
}

void known_limits(Bench& bench) {
    std::uint64_t most_refusals = 0;
    double most_requests = 0;
    std::string worst_refusals;
    std::string worst_requests;
    constexpr int kDocuments = 2'000;
    for (const Limited& l : limits()) {
        World w(bench.program, bench.cluster,
                {.dimensions = kWidth,
                 .keep_requests = 100'000,
                 .delay = 5ms,
                 .max_texts = l.texts,
                 .max_tokens = l.tokens,
                 .max_bytes = l.bytes,
                 .limit_status = l.status,
                 .limit_says = l.says});
        w.source("docs", kDocuments, 400);
        w.start();
        w.fill("docs");
        std::uint64_t tokens = 0;
        std::uint64_t bytes = 0;
        for (const auto& r : w.endpoint.requests()) {
            for (const auto& t : r.texts) tokens = std::max(tokens, FakeEndpoint::tokens_of(t));
            for (const auto& t : r.texts) bytes = std::max<std::uint64_t>(bytes, t.size() + 3);
        }
        std::uint64_t fits = kBatch;
        if (l.texts > 0) fits = std::min<std::uint64_t>(fits, l.texts);
        if (l.tokens > 0) fits = std::min(fits, l.tokens / tokens);
        if (l.bytes > 0) fits = std::min(fits, l.bytes / bytes);
        const double requests = ratio(w.endpoint.calls(), (kDocuments + fits - 1) / fits);
        const std::uint64_t refusals = w.endpoint.over_limits();
        fmt::print("  {}: {} refusals, {} requests, {} needed\n", l.name, refusals, w.endpoint.calls(),
                   (kDocuments + fits - 1) / fits);
        if (refusals >= most_refusals) worst_refusals = l.name;
        if (requests >= most_requests) worst_requests = l.name;
        most_refusals = std::max(most_refusals, refusals);
        most_requests = std::max(most_requests, requests);
    }
    fmt::print(
        "| {} well-known limits, {} documents: refusals until learnt; requests to those needed, at most | {} ({}); {:.2f} x "
        "({}) | | | 2; 1.2 x |\n",
        limits().size(), kDocuments, most_refusals, worst_refusals, most_requests, worst_requests);
}

enum class Remedy { key, edit, reconcile, restart };

void put_right(Bench& bench) {
    const std::string key_file = bench.cluster.folder() + "/key";
    std::string out;
    for (const auto& [name, remedy] : {std::pair{"new key in the file", Remedy::key},
                                       {"provider edited", Remedy::edit},
                                       {"reconcile", Remedy::reconcile},
                                       {"restart", Remedy::restart}}) {
        double worst = 0;
        for (int round = 0; round < 3; ++round) {
            std::ofstream(key_file) << "old\n";
            World w(bench.program, bench.cluster, {.dimensions = kWidth, .keep_requests = 1}, ", credential",
                    fmt::format(", 'file:{}'", key_file));
            const std::string url = w.endpoint.url();
            const std::string secrets = fmt::format("key file:{} {}", key_file, url.substr(0, url.rfind('/')));
            w.source("docs", 200);
            w.start(secrets);
            w.fill("docs");
            w.endpoint.always({.status = 401});
            w.db.exec("UPDATE docs SET body = 'edited ' || id");
            until(w.db, "SELECT count(*) FROM homeostat.condition WHERE type = 'ProviderHealthy' AND status = 'False'", "1");
            std::this_thread::sleep_for(2s);  // it has been left alone for a while
            w.endpoint.forget_script();
            if (remedy == Remedy::restart) w.stop();
            const auto started = Clock::now();
            switch (remedy) {
                case Remedy::key: std::ofstream(key_file) << "new\n"; break;
                case Remedy::edit: w.db.exec("UPDATE homeostat.provider SET timeout = '11 seconds' WHERE name = 'fake'"); break;
                case Remedy::reconcile: w.db.exec("UPDATE homeostat.pipeline SET reconcile_requested = 'now'"); break;
                case Remedy::restart: w.start(secrets); break;
            }
            w.wait("docs");
            worst = std::max(worst, seconds_since(started));
        }
        out += fmt::format("{}{} {:.2f}", out.empty() ? "" : ", ", name, worst / 3);
    }
    fmt::print("| refused with 401, then put right: all served after, as a share of 3 s (the longest of 3) | {} | | | 1 |\n",
               out);
}

}  // namespace

}  // namespace homeostat::bench

int main(int argc, char** argv) {
    using namespace homeostat::bench;
    std::setvbuf(stdout, nullptr, _IOLBF, 0);
    const std::string what = argc > 1 ? argv[1] : "all";
    const std::string self = argv[0];
    Bench bench{self.substr(0, self.rfind('/')) + "/../homeostat"};
    const auto asked = [&](std::string_view part) { return what == "all" || what == part; };
    if (asked("poison")) poison_texts(bench);
    if (asked("slow")) slow_texts(bench);
    if (asked("refused")) everything_refused(bench);
    if (asked("limits")) known_limits(bench);
    if (asked("right")) put_right(bench);
    return 0;
}
