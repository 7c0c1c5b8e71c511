#include "bench/measure.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "controller/controller.hpp"
#include "reconcilers/chunk/hash.hpp"
#include "reconcilers/factory/heal.hpp"
#include "store/control/resources.hpp"
#include "store/data/drift.hpp"
#include "store/data/revisions.hpp"
#include "store/pg/arrays.hpp"
#include "store/pg/session.hpp"

namespace homeostat::bench {

namespace {

constexpr std::uint32_t kDimensions = 384;

// Costs nothing: what is measured is everything else.
class NullEmbedder final : public Embedder {
public:
    boost::asio::awaitable<Result<Embeddings>> embed(const std::vector<std::string>& texts, TextRole, const Context&) override {
        Embeddings e;
        e.dimensions = kDimensions;
        e.values.assign(texts.size() * kDimensions, 0.05F);
        co_return e;
    }
    std::uint32_t dimensions() const noexcept override { return kDimensions; }
    EmbedderLimits limits() const noexcept override {
        EmbedderLimits l;
        l.max_batch = 1000;
        return l;
    }
};

double seconds_of(const timeval& t) { return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6; }

}  // namespace

Usage in_child(const std::function<bool()>& work) {
    std::fflush(nullptr);
    const auto started = std::chrono::steady_clock::now();
    const pid_t child = ::fork();
    if (child == 0) std::_Exit(work() ? 0 : 1);
    int status = 0;
    rusage usage{};
    ::wait4(child, &status, 0, &usage);
    Usage u;
    u.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
    u.peak_mib = static_cast<double>(usage.ru_maxrss) / 1024;
    u.cpu_seconds = seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime);
    u.ok = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    return u;
}

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    const std::size_t n = values.size();
    return n == 0 ? 0 : n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

void make_source(kit::Database& db, std::int64_t documents, int bytes) {
    db.exec("CREATE TABLE public.source (id bigint PRIMARY KEY, body text NOT NULL)");
    // Words that differ from row to row, so that nothing compresses into nothing.
    db.exec(
        fmt::format("INSERT INTO public.source SELECT i, (SELECT left(string_agg(md5((i * 100 + j)::text), ' '), {0}) FROM"
                    " generate_series(1, {2}) j) FROM generate_series(1, {1}) i",
                    bytes, documents, bytes / 33 + 1));
    if (!reader_for(db.url()).empty()) {
        db.exec(
            "DO $$ BEGIN CREATE ROLE bench_reader LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;"
            "GRANT SELECT ON public.source TO bench_reader");
    }
    db.exec("VACUUM (ANALYZE) public.source");
    db.exec("CHECKPOINT");
}

void declare(kit::Database& db, const std::string& provider) {
    db.exec(
        fmt::format("INSERT INTO homeostat.pipeline (name, source, content, provider, target, chunker, index_method)"
                    " VALUES ('bench', 'public.source', 'body', '{}', 'public.source_vectors', 'whole', 'none')",
                    provider));
}

void empty_revision(kit::Database& db) {
    db.exec("TRUNCATE homeostat_data.p1_r1_document, homeostat_data.p1_r1_chunk, homeostat_data.p1_r1_journal RESTART IDENTITY");
    db.exec("CHECKPOINT");
}

std::string reader_for(const std::string& url) {
    const std::size_t user = url.find("postgres@");
    if (std::getenv("BENCH_READER") == nullptr || user == std::string::npos) return "";
    return std::string(url).replace(user, 8, "bench_reader");
}

Settings settings_for(const std::string& url) {
    ConfigSources sources;
    sources.flags = {{"database.url", url}, {"http.listen", ""}, {"log.level", "warn"}, {"database.allow_superuser", "true"}};
    if (const std::string reader = reader_for(url); !reader.empty()) sources.flags.emplace_back("database.reader_url", reader);
    sources.default_file = "";
    Result<Config> config = load_config(sources);
    if (!config) throw std::runtime_error(config.error().message);
    return config->settings;
}

EmbedderMaker null_embedders() {
    return [](const ProviderSpec&, const std::string&, std::uint32_t) -> Result<std::shared_ptr<Embedder>> {
        return std::shared_ptr<Embedder>(std::make_shared<NullEmbedder>());
    };
}

bool run_once(const std::string& url, Embedding embedding) {
    spdlog::set_level(spdlog::level::warn);
    const SystemClock clock;
    Registry metrics;
    Controller controller(settings_for(url), {.once = true}, clock, metrics, nullptr,
                          embedding == Embedding::null ? null_embedders() : EmbedderMaker());
    if (const Status started = controller.start(); !started) {
        fmt::print(stderr, "{}\n", started.error().message);
        return false;
    }
    Result<RunSummaryCounts> counts = controller.wait({});
    controller.stop();
    return counts && counts->converged == 1;
}

Sweeper::Sweeper(const std::string& url) {
    ConnectOptions options;
    options.url = url;
    if (const std::string reader = reader_for(url); !reader.empty())
        options.readers = {{.role = "", .url = reader, .problem = "", .setting = "database.reader_url"}};
    session_ = *Session::connect(options);
    const PipelineSpec spec = *find_pipeline(*session_, "bench");
    revision_ = std::make_unique<Revision>((*read_revisions(*session_, spec.uid)).back());
    Transaction look = session_->begin(TxMode::read_only);
    source_ = std::make_unique<SourceShape>(*inspect_source(look, spec));
}

Sweeper::~Sweeper() = default;

double Sweeper::sweep() {
    const auto started = std::chrono::steady_clock::now();
    SliceRequest request;
    request.limit = 20'000;
    for (bool more = true; more;) {
        const auto begun = std::chrono::steady_clock::now();
        Transaction tx = session_->begin(TxMode::read_snapshot);
        const Slice slice = *observe_slice(tx, *source_, *revision_, request);
        if (!slice.items.empty()) throw std::runtime_error("drift was found");
        request.after = slice.last;
        request.seen += slice.source_rows;
        more = !slice.final;
        // As the reconciler does: a slice that was quick is followed by a larger one.
        if (std::chrono::steady_clock::now() - begun < std::chrono::milliseconds(125))
            request.limit = std::min<std::int64_t>(request.limit * 2, 200'000);
    }
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
}

bool run_floor(const std::string& url) {
    ConnectOptions options;
    options.url = url;
    Result<std::unique_ptr<Session>> session = Session::connect(options);
    if (!session) return false;
    const Statement read{"floor_read",
                         "SELECT id, body, sha256(convert_to(body, 'UTF8')), xmin FROM public.source WHERE id > $1::bigint"
                         " ORDER BY id LIMIT 1000"};
    const Statement documents{"floor_documents",
                              "INSERT INTO homeostat_data.p1_r1_document (document_id, key_1, source_version, content_hash, "
                              "chunk_count, run_id, batch_id,"
                              " write_token) SELECT k, k, v::xid, h::bytea, 1, 1, 1, 1 FROM unnest($1::bigint[], $2::text[], "
                              "$3::text[]) AS w(k, v, h)"};
    const Statement chunks{
        "floor_chunks",
        "INSERT INTO homeostat_data.p1_r1_chunk (document_id, number, start_offset, end_offset, chunk_hash, text, embedding)"
        " SELECT k, 0, 0, octet_length(t), h, t, e FROM unnest($1::bigint[], $2::text[], $3::bytea[], $4::public.vector[]) AS "
        "w(k, t, h, e)"};
    return guarded([&] {
               const Rows oid = (*session)->exec("SELECT 'public.vector'::regtype::oid");
               const auto vector_oid = static_cast<std::uint32_t>(oid.i64(0, 0));
               const std::vector<float> vector(kDimensions, 0.05F);
               std::int64_t after = 0;
               for (;;) {
                   Transaction tx = (*session)->begin();
                   const Rows rows = tx.exec(read, Params::of(after));
                   if (rows.empty()) break;
                   std::vector<std::int64_t> ids;
                   std::vector<std::string_view> versions;
                   std::vector<std::string_view> hashes;
                   std::vector<std::string_view> texts;
                   std::vector<std::string> digests;
                   for (int i = 0; i < rows.size(); ++i) {
                       ids.push_back(rows.i64(i, 0));
                       texts.push_back(rows.view(i, 1));
                       hashes.push_back(rows.view(i, 2));
                       versions.push_back(rows.view(i, 3));
                       digests.push_back(chunk_hash(texts.back()));
                   }
                   const std::vector<std::string_view> digest_views(digests.begin(), digests.end());
                   const std::vector<const float*> vectors(ids.size(), vector.data());
                   Params d;
                   d.bytes(binary_array(ids)).bytes(binary_array(versions)).bytes(binary_array(hashes));
                   tx.exec(documents, d);
                   Params c;
                   c.bytes(binary_array(ids)).bytes(binary_array(texts)).bytes(binary_array(digest_views, kByteaOid));
                   c.bytes(binary_vectors(vectors, kDimensions, VectorType::vector, vector_oid));
                   tx.exec(chunks, c);
                   tx.commit();
                   after = ids.back();
               }
           })
        .ok();
}

}  // namespace homeostat::bench
