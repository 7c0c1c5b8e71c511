// One running program of an exec provider: a line is written to it, a line is read back.
//
// It is killed when an answer is late, when the caller stops, and when it breaks the protocol; its end is noticed at once,
// whoever brought it about, and leaves nothing behind. What it writes to its error output is drained, and the end of it kept for
// messages.
//
// Everything happens on the strand given; so do all calls. It keeps itself alive until its process is gone.
#pragma once

#include <array>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "core/clock.hpp"
#include "core/error.hpp"
#include "reconcilers/embed/sandbox.hpp"

namespace homeostat {

class ExecChild : public std::enable_shared_from_this<ExecChild> {
public:
    using Strand = boost::asio::strand<boost::asio::any_io_executor>;

    // `secrets` are blotted out of what is quoted from its error output.
    static Result<std::shared_ptr<ExecChild>> start(const Strand& strand, const SandboxSpec& spec, const SandboxReport& report,
                                                    std::vector<std::string> secrets);
    ~ExecChild() = default;
    ExecChild(const ExecChild&) = delete;
    ExecChild& operator=(const ExecChild&) = delete;

    // One exchange at a time. Any failure has killed it, and it is gone but for a second's doubt when this returns: class
    // timeout, cancelled, transient (it ended), bad_answer (no end of a line within `most` bytes, or more than a line), invalid
    // or local (it never ran).
    boost::asio::awaitable<Result<std::string>> exchange(std::string line, std::size_t most, Duration within,
                                                         std::stop_token stop);

    std::uint64_t next_id() noexcept { return ++last_id_; }
    // Alive, and silent until it is asked.
    bool fit();
    void kill();
    const std::string& program() const noexcept { return program_; }

private:
    enum class Break : std::uint8_t { timeout, stopped };

    ExecChild(const Strand& strand, Sandboxed caged, std::string program, std::vector<std::string> secrets);
    void watch();
    void drain();
    void send(std::string line);
    void break_off(std::uint64_t ticket, Break why);
    boost::asio::awaitable<std::optional<Error>> confirm_start();
    boost::asio::awaitable<std::optional<Error>> read_line(std::size_t most);
    boost::asio::awaitable<bool> gone(Duration within);
    boost::asio::awaitable<Error> fault(std::optional<Error> failed, Duration within);
    std::string last_words() const;

    Strand strand_;
    std::string program_;
    std::vector<std::string> secrets_;
    std::unique_ptr<SandboxedProcess> process_;
    boost::asio::local::stream_protocol::socket input_;
    boost::asio::posix::stream_descriptor output_;
    boost::asio::posix::stream_descriptor errors_;
    boost::asio::posix::stream_descriptor started_;
    boost::asio::posix::stream_descriptor exited_;
    boost::asio::steady_timer deadline_;
    boost::asio::steady_timer changed_;  // cancelled when end_, drained_ or sent_ changes
    std::uint64_t last_id_ = 0;
    std::uint64_t ticket_ = 0;  // names the exchange, so that a timer or stop that fires late does nothing to the next
    std::optional<Break> broken_;
    bool confirmed_ = false;
    std::optional<bool> sent_;  // absent while the request is being written
    bool drained_ = false;
    std::optional<ProcessEnd> end_;
    std::string answer_;
    std::string words_;  // the last of its error output
    std::array<char, 4096> chunk_{};
};

}  // namespace homeostat
