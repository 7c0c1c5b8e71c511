// Times the built-in model on the texts of a file, on one thread: local_model MODEL_DIR TEXTS.json BATCH SECONDS [VECTORS.json]
// Prints documents a second, one line a round. With VECTORS.json (what the npm runtime made of the same texts) prints the largest
// difference to standard error and fails above 1e-5; standard error also gets load time and resident memory.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "reconcilers/embed/inprocess.hpp"
#include "reconcilers/embed/local_model.hpp"

namespace {

using namespace homeostat;
namespace asio = boost::asio;
using Seconds = std::chrono::duration<double>;

double now() { return Seconds(std::chrono::steady_clock::now().time_since_epoch()).count(); }

double resident_mib() {
    std::ifstream in("/proc/self/statm");
    double size = 0, resident = 0;
    in >> size >> resident;
    return resident * static_cast<double>(sysconf(_SC_PAGESIZE)) / (1 << 20);
}

template <class T>
T value_of(Result<T> result) {
    if (!result) throw std::runtime_error(result.error().message);
    return *std::move(result);
}

// The whole embedder is measured, coroutines included; its CPU executor is this very thread.
std::vector<float> embed_all(asio::io_context& io, Embedder& embedder, const std::vector<std::vector<std::string>>& batches) {
    std::vector<float> rows;
    const Context context;
    asio::co_spawn(
        io,
        [&]() -> asio::awaitable<void> {
            for (const auto& batch : batches) {
                const Embeddings e = value_of(co_await embedder.embed(batch, TextRole::document, context));
                rows.insert(rows.end(), e.values.begin(), e.values.end());
            }
        },
        [](std::exception_ptr e) {
            if (e) std::rethrow_exception(e);
        });
    io.restart();
    io.run();
    return rows;
}

float largest_difference(const std::vector<float>& rows, const char* file) {
    std::ifstream in(file);
    float most = 0;
    std::size_t at = 0;
    for (const auto& vector : nlohmann::json::parse(in)) {
        for (const float expected : vector) most = std::max(most, std::fabs(expected - rows.at(at++)));
    }
    if (at != rows.size()) throw std::runtime_error("the two runtimes made vectors of different texts");
    return most;
}

int run(int argc, char** argv) {
    if (argc < 5) throw std::runtime_error("usage: local_model MODEL_DIR TEXTS.json BATCH SECONDS [VECTORS.json]");
    std::ifstream in(argv[2]);
    const auto texts = nlohmann::json::parse(in).get<std::vector<std::string>>();
    std::vector<std::vector<std::string>> batches;
    for (std::size_t i = 0; i < texts.size(); ++i) {
        if (i % std::stoul(argv[3]) == 0) batches.emplace_back();
        batches.back().push_back(texts[i]);
    }
    const double before = resident_mib();
    const double start = now();
    const auto model = value_of(load_local_model(argv[1]));
    fmt::print(stderr, "{} kernels, loaded in {:.3f} s, {:.0f} MiB\n", model->instruction_set(), now() - start,
               resident_mib() - before);
    asio::io_context io(1);
    const auto embedder = value_of(make_local_embedder(model, LocalModel::kDimensions, {.cpu = io.get_executor()}));
    const std::vector<float> rows = embed_all(io, *embedder, batches);  // warms up
    if (argc > 5) {
        const float difference = largest_difference(rows, argv[5]);
        fmt::print(stderr, "largest difference to the reference {:.1e}\n", difference);
        if (!(difference < 1e-5F)) return 1;
    }
    const double end = now() + std::stod(argv[4]);
    do {
        const double begin = now();
        embed_all(io, *embedder, batches);
        fmt::print("{:.3f}\n", static_cast<double>(texts.size()) / (now() - begin));
    } while (now() < end);
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    try {
        return run(argc, argv);
    } catch (const std::exception& e) {
        fmt::print(stderr, "local_model: {}\n", e.what());
        return 2;
    }
}
