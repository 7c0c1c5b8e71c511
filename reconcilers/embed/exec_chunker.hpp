// A chunker that is an external program, in the sandbox of exec providers (exec.hpp) and no more trusted. The operator names it
// in the settings (`chunkers`); whoever declares a pipeline says the name.
//
// A text that the program refuses is refused; the others are cut. What it does to a request of several (hangs, dies, writes
// garbage) is nobody's fault: each text is asked for alone. Only a text that failed alone twice, while the program answered a
// harmless one each time, is refused for it. Three such in a row and the program is quarantined instead; so is one that fails
// three times in a row and then at a harmless text. What it failed at is remembered until it has been told, so that no order of
// texts keeps the rest waiting.
//
// Safe to call concurrently from any thread; the programs are watched on the executor given, never waited for.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/clock.hpp"
#include "core/context.hpp"
#include "core/error.hpp"
#include "core/sync.hpp"
#include "core/telemetry.hpp"
#include "reconcilers/embed/chunker_program.hpp"
#include "reconcilers/embed/exec.hpp"
#include "reconcilers/embed/exec_chunk_protocol.hpp"

namespace homeostat {

class ExecPool;

struct ChunkerFigures {
    std::uint64_t requests = 0;
    std::uint64_t failures = 0;
    double mean_seconds = 0;  // of a request that was answered
    std::string quarantine;  // why nothing is asked of it and until when; "" where it is
};

class ExecChunker {
public:
    // Refuses what make_exec_embedder() refuses. `clock` and what `telemetry` refers to outlive the chunker. Blocks for some
    // milliseconds.
    static Result<std::shared_ptr<ExecChunker>> make(const ChunkerProgram& program, const boost::asio::any_io_executor& executor,
                                                     const Clock& clock, Telemetry telemetry, const ExecOptions& options = {});
    ~ExecChunker();
    ExecChunker(const ExecChunker&) = delete;
    ExecChunker& operator=(const ExecChunker&) = delete;

    // One a text, in order. The texts stay alive until the awaitable has finished. An error is nobody's fault among them.
    boost::asio::awaitable<Result<std::vector<CutText>>> cut(const std::vector<std::string_view>& texts, CutRules rules,
                                                             Context context);

    ChunkerFigures figures() const EXCLUDES(mutex_);
    const std::string& name() const noexcept { return name_; }

private:
    using Texts = std::vector<std::string_view>;
    // One call of cut(), in which some texts are told at last to be refused.
    struct Order;

    ExecChunker(const ChunkerProgram& program, std::shared_ptr<ExecPool> pool, const Clock& clock, Telemetry telemetry);

    boost::asio::awaitable<Status> cut_group(Order& order, const std::vector<std::size_t>& group);
    boost::asio::awaitable<Status> cut_alone(Order& order, std::size_t text, Status failed);
    boost::asio::awaitable<Result<std::vector<CutText>>> ask(const Order& order, const std::vector<std::size_t>& group);
    boost::asio::awaitable<Status> prove(const Order& order);
    Status condemn(Order& order, std::size_t text, const Error& last) EXCLUDES(mutex_);
    void note(const Status& answer, Duration took) EXCLUDES(mutex_);
    Error told(Error e) const;

    const std::string name_;
    const std::shared_ptr<ExecPool> pool_;
    const Clock& clock_;
    const Telemetry telemetry_;
    mutable Mutex mutex_;
    int condemned_in_row_ GUARDED_BY(mutex_) = 0;  // texts, with none cut between them
    std::map<std::size_t, Error> condemned_ GUARDED_BY(mutex_);  // by hash: failed at, and not told yet
    std::uint64_t requests_ GUARDED_BY(mutex_) = 0;
    std::uint64_t failures_ GUARDED_BY(mutex_) = 0;
    double seconds_ GUARDED_BY(mutex_) = 0;  // of those that were answered
};

}  // namespace homeostat
