// What the measurements share: a private cluster with durable settings, a source of documents, and a run in a process of its own,
// so that time and peak memory are that run's alone.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "controller/config/config.hpp"
#include "reconcilers/gateway/gateway.hpp"
#include "tests/kit/cluster.hpp"

namespace homeostat {

class Session;
struct Revision;
struct SourceShape;

namespace bench {

struct Usage {
    double seconds = 0;
    double peak_mib = 0;
    double cpu_seconds = 0;
    bool ok = false;
};

// Runs `work` in a forked child; the caller has no threads.
Usage in_child(const std::function<bool()>& work);

double median(std::vector<double> values);

// public.source(id bigint primary key, body text): `documents` rows of about `bytes` bytes, vacuumed.
void make_source(kit::Database& db, std::int64_t documents, int bytes);
// Declares pipeline "bench" over it without a vector index.
void declare(kit::Database& db, const std::string& provider);
void empty_revision(kit::Database& db);

Settings settings_for(const std::string& url);
// With BENCH_READER=1 sources are read by a login of their own, which this is the URL of; "" without.
std::string reader_for(const std::string& url);

// Vectors that cost nothing to make.
EmbedderMaker null_embedders();

enum class Embedding : std::uint8_t { null, as_declared };
// The controller, once, in this process; true where it converged.
bool run_once(const std::string& url, Embedding embedding);

// The floor: the same source rows read and the same rows written into the same tables and indexes, by the best bare
// statements on one connection.
bool run_floor(const std::string& url);

// What people write by hand: one loop that fetches a hundred documents, posts them, and upserts the vectors as text.
// `loops` of it side by side, each with its share of the documents.
bool run_worker(const std::string& url, const std::string& port, int loops = 1);
// The same once more: it reads every document, compares it with the hash that it noted, and posts those that differ.
bool run_worker_again(const std::string& url, const std::string& port);

// All slices of the pipeline's source, observed as a shallow sweep does, on a connection that stays as a pool's do. Throws where
// drift is found.
class Sweeper {
public:
    explicit Sweeper(const std::string& url);
    ~Sweeper();
    double sweep();  // the seconds of it

private:
    std::unique_ptr<Session> session_;
    std::unique_ptr<Revision> revision_;
    std::unique_ptr<SourceShape> source_;
};

}  // namespace bench
}  // namespace homeostat
