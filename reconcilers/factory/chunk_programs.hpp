// The chunkers that are programs (`chunker = 'program:NAME'`), as the operator has registered them in the settings of this
// replica.
//
// Each is started when it is first needed. What is not registered, not allowed or in quarantine refuses with class unavailable,
// which costs no batch an attempt; batches of pipelines whose chunker is missing here are left to other replicas for a while. Any
// thread.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/context.hpp"
#include "core/sync.hpp"
#include "reconcilers/chunk/chunker.hpp"
#include "reconcilers/embed/exec_chunker.hpp"
#include "reconcilers/factory/heal.hpp"

namespace homeostat {

// Code of the error: this replica has no such program, or may not start it. Another may.
inline constexpr const char* kChunkerMissing = "ChunkerMissing";

// Class invalid, with the nearest name, where `chunker` is a program that is none of those.
Status check_registered(std::string_view chunker, const std::vector<ChunkerProgram>& registered);

class ChunkPrograms {
public:
    // Blocks for some milliseconds.
    using Maker = std::function<Result<std::shared_ptr<ExecChunker>>(const ChunkerProgram& program)>;
    enum class State : std::uint8_t { idle, ready, refused, quarantined };
    struct Line {
        std::string name;
        std::string command;  // the program, without its arguments
        State state = State::idle;  // idle: nobody has asked for it yet
        std::string reason;  // where it is refused or quarantined
        std::uint64_t requests = 0;
        std::uint64_t failures = 0;
        double mean_seconds = 0;
    };

    // `db`: an executor whose threads may block.
    ChunkPrograms(std::vector<ChunkerProgram> registered, Maker make, boost::asio::any_io_executor db);

    // Whether documents can be cut by that chunker now.
    boost::asio::awaitable<Status> ready(std::string chunker) EXCLUDES(mutex_);
    // One a document, in order; views into their contents, which stay where they are until the awaitable has finished. What is
    // white space only has no chunks, and no program is asked about it. `in_context`: a quarter of each chunk is kept for the
    // documents' context, of which so much stands before each.
    boost::asio::awaitable<Result<std::vector<CutDocument>>> cut(ChunkSettings settings, bool in_context,
                                                                 const std::vector<ReadDocument>& documents, Context context)
        EXCLUDES(mutex_);

    // Batches of that pipeline lack their chunker here: they are left alone for a while.
    void leave(std::int64_t uid, SteadyTime now) EXCLUDES(mutex_);
    std::vector<std::int64_t> left(SteadyTime now) EXCLUDES(mutex_);

    // All that are registered.
    std::vector<Line> lines() const EXCLUDES(mutex_);

private:
    using ChunkerPtr = std::shared_ptr<ExecChunker>;

    boost::asio::awaitable<Result<ChunkerPtr>> find(std::string chunker) EXCLUDES(mutex_);
    Result<ChunkerPtr> make(const ChunkerProgram& program) EXCLUDES(mutex_);
    bool is_blank(std::string_view text) const;
    // As much of a document's context as `units` hold.
    static std::string beginning(const std::string& context, std::uint32_t units, ChunkUnit unit);

    const std::vector<ChunkerProgram> registered_;
    const Maker make_;
    const boost::asio::any_io_executor db_;
    const Result<std::unique_ptr<Chunker>> whole_;  // which knows what is white space
    mutable Mutex mutex_;
    std::map<std::string, ChunkerPtr, std::less<>> made_ GUARDED_BY(mutex_);  // by name
    std::map<std::string, std::string, std::less<>> refused_ GUARDED_BY(mutex_);  // why the last attempt to make it failed
    std::map<std::int64_t, SteadyTime> left_ GUARDED_BY(mutex_);  // pipelines, until when
};

std::string_view to_string(ChunkPrograms::State state) noexcept;

}  // namespace homeostat
