#include <stdexcept>

#include "reconcilers/embed/inprocess.hpp"
#include "tests/conformance/embedder_conformance.hpp"

namespace homeostat {
namespace {

template <class T>
T value_of(Result<T> result) {
    if (!result) throw std::runtime_error(result.error().message);
    return *std::move(result);
}

InProcessOptions options(const EmbedderSurroundings& s) { return {.cpu = s.cpu, .clock = &s.clock, .max_in_flight = 2}; }

}  // namespace

EmbedderCase local_embedder_case() {
    return {"local", [](const EmbedderSurroundings& s) {
                static const auto model = value_of(load_local_model(HOMEOSTAT_MODEL_DIR));
                return EmbedderUnderTest{nullptr, value_of(make_local_embedder(model, 512, options(s)))};
            }};
}

EmbedderCase hashing_embedder_case() {
    return {"hashing", [](const EmbedderSurroundings& s) {
                return EmbedderUnderTest{nullptr, value_of(make_hashing_embedder(384, options(s)))};
            }};
}

std::vector<EmbedderCase> embedder_cases() {
    return {local_embedder_case(), hashing_embedder_case(), openai_embedder_case(), openai_float_tls_embedder_case(),
            exec_embedder_case()};
}

}  // namespace homeostat
