// The embedders that need nobody: `local`, a real model in this process, and `hashing`, deterministic and next to free.
//
// Both do their work on the given CPU executor, in pieces of some tens of milliseconds between which stop and deadline are looked
// at, and resume the caller on its own executor; an I/O thread never computes. Safe to call concurrently.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <cstdint>
#include <memory>
#include <string>

#include "core/clock.hpp"
#include "core/error.hpp"
#include "reconcilers/embed/embedder.hpp"

namespace homeostat {

class LocalModel;

// `portable` is for tests and measurements; `best` takes AVX2 and FMA where the processor has them.
enum class InstructionSet : std::uint8_t { best, portable };

// Reads and checks the weights (0.1 s, 30 MB): once a process, and shared by every embedder made from it. Where the files are
// missing or damaged the error says how to get them.
Result<std::shared_ptr<const LocalModel>> load_local_model(const std::string& model_dir,
                                                           InstructionSet instructions = InstructionSet::best);

struct InProcessOptions {
    boost::asio::any_io_executor cpu;  // of the pool for work that computes; never an I/O thread
    const Clock* clock = nullptr;  // outlives the embedder; without one deadlines are not looked at
    std::uint32_t max_in_flight = 2;  // the size of that pool: more only wait in its queue
    boost::asio::any_io_executor quick = {};  // of one thread more, for what somebody may wait for; `cpu` where there is none
};

// What both ask between two pieces of work.
Status may_go_on(const Context& context, const Clock* clock);

// 512 numbers, or fewer: the first `dimensions` of them, brought back to unit length (smaller and somewhat less exact in
// meaning).
Result<std::unique_ptr<Embedder>> make_local_embedder(std::shared_ptr<const LocalModel> model, std::uint32_t dimensions,
                                                      const InProcessOptions& options);

// Word and character features hashed into 1 to 16000 dimensions. Texts that share words are near each other; it knows no meaning.
Result<std::unique_ptr<Embedder>> make_hashing_embedder(std::uint32_t dimensions, const InProcessOptions& options);

}  // namespace homeostat
