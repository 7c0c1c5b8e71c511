// What every embedder owes its callers is tested once (embedder_conformance_test.cpp) and run over each of the cases listed here.
//
// To add an embedder: write a function that gives its case in a file of its own, and name it in embedder_cases().
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/clock.hpp"
#include "reconcilers/embed/embedder.hpp"

namespace homeostat {

struct EmbedderSurroundings {
    boost::asio::any_io_executor io;  // where the caller runs, one thread
    boost::asio::any_io_executor cpu;  // a pool of two threads
    Clock& clock;
};

struct EmbedderUnderTest {
    std::shared_ptr<void> world;  // what the embedder needs and the test does not look at (an endpoint, a model); destroyed last
    std::unique_ptr<Embedder> embedder;
};

struct EmbedderCase {
    std::string name;
    std::function<EmbedderUnderTest(const EmbedderSurroundings&)> make;
};

EmbedderCase local_embedder_case();
EmbedderCase hashing_embedder_case();
EmbedderCase openai_embedder_case();
EmbedderCase openai_float_tls_embedder_case();
EmbedderCase exec_embedder_case();

std::vector<EmbedderCase> embedder_cases();

}  // namespace homeostat
