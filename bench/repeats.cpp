// Texts that come again: what of them is paid for, without and with the cache that outlives a process. bench/README.md says more.
#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "bench/child.hpp"
#include "tests/kit/cluster.hpp"
#include "tests/kit/fake_endpoint.hpp"
#include "tests/kit/process.hpp"

namespace homeostat::bench {

namespace {

constexpr int kStarts = 4;
constexpr std::uint32_t kWidth = 384;
constexpr std::uint64_t kBytesKept = kWidth * sizeof(float) + 250;  // of a vector, as the table counts them

// Nine of ten documents say what an earlier one says, mostly what many say: the k-th text is chosen with a density that falls
// with k.
void add_documents(kit::Database& db, std::int64_t from, std::int64_t to) {
    db.exec(
        fmt::format("SELECT setseed(0.{1}); INSERT INTO source SELECT i, 'Text ' || CASE WHEN i % 10 = 0 THEN i / 10"
                    " ELSE floor(power(random(), 2) * (i / 10 + 1))::bigint END || repeat(' of some length', 20)"
                    " FROM generate_series({0}, {1} - 1) i",
                    from, to));
}

struct Outcome {
    std::int64_t documents = 0;  // of both pipelines
    std::int64_t distinct = 0;
    std::uint64_t paid = 0;
    double seconds = 0;
};

// The documents come in four parts, each healed by a process of its own, which ends; then another pipeline is declared over all
// of them.
Outcome run(const std::string& program, std::int64_t documents, std::uint64_t shared_bytes) {
    kit::Cluster cluster({"fsync=on", "shared_buffers=256MB"});
    kit::Database db(kit::Schema::migrated, cluster);
    kit::FakeEndpoint endpoint({.dimensions = kWidth, .keep_requests = 1});
    db.exec(
        fmt::format("CREATE TABLE source (id bigint PRIMARY KEY, body text);"
                    "INSERT INTO homeostat.provider (name, kind, endpoint, model, dimensions, max_batch, max_in_flight)"
                    " VALUES ('fake', 'openai', '{}', 'fake', {}, 100, 8)",
                    endpoint.url(), kWidth));
    const auto declared = [&](const std::string& name) {
        db.exec(
            fmt::format("INSERT INTO homeostat.pipeline (name, source, content, provider, target, index_method)"
                        " VALUES ('{0}', 'public.source', 'body', 'fake', 'public.{0}_vectors', 'none')",
                        name));
    };
    const auto heal = [&] {
        kit::Process once(program, {"run", "--once"},
                          {{"HOMEOSTAT_DATABASE_URL", db.url()},
                           {"HOMEOSTAT_HTTP_LISTEN", ""},
                           {"HOMEOSTAT_LOG_LEVEL", "error"},
                           {"HOMEOSTAT_CACHE_SHARED_BYTES", std::to_string(shared_bytes)}});
        check(once.wait(std::chrono::minutes(10)).value_or(kit::Exit{}).code == 0, once.output());
    };
    const auto began = std::chrono::steady_clock::now();
    declared("first");
    for (int part = 0; part < kStarts; ++part) {
        add_documents(db, documents * part / kStarts, documents * (part + 1) / kStarts);
        heal();
    }
    declared("second");
    heal();
    Outcome o;
    o.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
    o.documents = 2 * documents;
    o.distinct = std::stoll(db.value("SELECT count(DISTINCT body) FROM source"));
    o.paid = endpoint.texts();
    return o;
}

void print(std::string_view what, const Outcome& o) {
    const double rate = 1 - static_cast<double>(o.paid) / static_cast<double>(o.documents);
    const auto twice = static_cast<std::int64_t>(o.paid) - o.distinct;
    fmt::print(
        "| {} documents of {} texts, {} starts and a second pipeline, {} | {} paid in {:.1f} s | {} of them again, {:.2f} a text "
        "|"
        " hit rate {:.3f} |\n",
        o.documents, o.distinct, kStarts, what, o.paid, o.seconds, twice,
        static_cast<double>(twice) / static_cast<double>(o.distinct), rate);
}

}  // namespace

}  // namespace homeostat::bench

int main(int argc, char** argv) {
    using namespace homeostat::bench;
    std::setvbuf(stdout, nullptr, _IOLBF, 0);
    const std::int64_t documents = argc > 1 ? std::atoll(argv[1]) : 20'000;
    const std::string self = argv[0];
    const std::string program = self.substr(0, self.rfind('/')) + "/../homeostat";
    const std::uint64_t all = static_cast<std::uint64_t>(documents) / 10 * kBytesKept;
    print("in memory only", run(program, documents, 0));
    print("shared, room for all", run(program, documents, 2 * all));
    print("shared, room for half of the texts", run(program, documents, all / 2));
    return 0;
}
