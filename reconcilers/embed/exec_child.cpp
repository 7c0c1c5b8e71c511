#include "reconcilers/embed/exec_child.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

#include "reconcilers/embed/redaction.hpp"
#include "reconcilers/embed/request_text.hpp"

namespace homeostat {

namespace {

namespace asio = boost::asio;
using boost::system::error_code;

constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);
constexpr std::chrono::hours kLongestWait{24};
constexpr std::chrono::milliseconds kTimeToEnd{500};  // between the end of its output and its own
constexpr std::chrono::seconds kTimeToDie{2};         // after SIGKILL, which it cannot refuse
constexpr std::size_t kWordsKept = 4096;
constexpr std::size_t kPiece = 64 * 1024;

Error error(ErrorClass cls, std::string message) { return {.cls = cls, .message = std::move(message), .origin = Origin::theirs}; }

}  // namespace

Result<std::shared_ptr<ExecChild>> ExecChild::start(const Strand& strand, const SandboxSpec& spec, const SandboxReport& report,
                                                    std::vector<std::string> secrets) {
    auto caged = start_sandboxed(spec, report);
    if (!caged) return std::move(caged).error();
    try {
        const std::shared_ptr<ExecChild> child(
            new ExecChild(strand, *std::move(caged), spec.command.front(), std::move(secrets)));
        child->watch();
        child->drain();
        return child;
    } catch (const boost::system::system_error& e) {
        return Error{.cls = ErrorClass::local,
                     .message = fmt::format("the program's pipes cannot be watched ({}); it is tried again", e.code().message())};
    }
}

ExecChild::ExecChild(const Strand& strand, Sandboxed caged, std::string program, std::vector<std::string> secrets)
    : strand_(strand),
      program_(std::move(program)),
      secrets_(std::move(secrets)),
      process_(std::move(caged.process)),
      input_(strand, asio::local::stream_protocol(), caged.input.release()),
      output_(strand, caged.output.release()),
      errors_(strand, caged.errors.release()),
      started_(strand, caged.started.release()),
      exited_(strand, caged.exited.release()),
      deadline_(strand),
      changed_(strand) {}

void ExecChild::watch() {
    exited_.async_wait(asio::posix::descriptor_base::wait_read, [self = shared_from_this()](const error_code&) {
        self->end_ = self->process_->reap();
        self->exited_.close();
        self->changed_.cancel();
    });
}

void ExecChild::drain() {
    errors_.async_read_some(asio::buffer(chunk_), [self = shared_from_this()](const error_code& ec, std::size_t n) {
        self->words_.append(self->chunk_.data(), n);
        if (self->words_.size() > kWordsKept) self->words_.erase(0, self->words_.size() - kWordsKept);
        if (!ec) return self->drain();
        self->errors_.close();
        self->drained_ = true;
        self->changed_.cancel();
    });
}

void ExecChild::kill() {
    process_->kill();
    error_code ignored;
    input_.close(ignored);
    output_.cancel(ignored);
    started_.cancel(ignored);
}

bool ExecChild::fit() {
    if (end_ || broken_ || !sent_.value_or(false) || !answer_.empty() || !input_.is_open()) return false;
    asio::posix::descriptor_base::bytes_readable unasked;
    error_code ec;
    output_.io_control(unasked, ec);
    return !ec && unasked.get() == 0;
}

void ExecChild::break_off(std::uint64_t ticket, Break why) {
    if (ticket != ticket_ || broken_) return;
    broken_ = why;
    kill();
}

void ExecChild::send(std::string line) {
    sent_.reset();
    const auto text = std::make_shared<const std::string>(std::move(line));
    // A program that does not read on has ended or is about to be late: reading its answer will show which.
    asio::async_write(input_, asio::buffer(*text), [self = shared_from_this(), text](const error_code& ec, std::size_t) {
        self->sent_ = !ec;
        self->changed_.cancel();
    });
}

asio::awaitable<std::optional<Error>> ExecChild::confirm_start() {
    if (confirmed_) co_return std::nullopt;
    SandboxFault told;
    const auto [ec, n] = co_await asio::async_read(started_, asio::buffer(&told, sizeof told), kTuple);
    if (n == sizeof told) co_return told.error(program_);
    if (ec != asio::error::eof) co_return error(ErrorClass::transient, "the program was ended before it began");
    started_.close();
    confirmed_ = true;
    co_return std::nullopt;
}

asio::awaitable<std::optional<Error>> ExecChild::read_line(std::size_t most) {
    for (std::size_t seen = 0;;) {
        if (const std::size_t end = answer_.find('\n', seen); end != std::string::npos) {
            if (end + 1 != answer_.size()) {
                co_return error(ErrorClass::bad_answer,
                                fmt::format("the program wrote more than one line for one request: {}",
                                            quoted_excerpt(std::string_view(answer_).substr(end + 1), 120)));
            }
            answer_.pop_back();
            co_return std::nullopt;
        }
        seen = answer_.size();
        if (seen > most) {
            co_return error(ErrorClass::bad_answer,
                            fmt::format("the program wrote {} bytes without ending the line, and no answer is that long; if this "
                                        "one is, lower max_batch",
                                        seen));
        }
        answer_.resize(seen + kPiece);
        const auto [ec, n] = co_await output_.async_read_some(asio::buffer(answer_.data() + seen, kPiece), kTuple);
        answer_.resize(seen + n);
        if (ec) co_return error(ErrorClass::transient, {});  // fault() finds the words: only now is it known how it ended
    }
}

asio::awaitable<bool> ExecChild::gone(Duration within) {
    changed_.expires_after(std::chrono::duration_cast<asio::steady_timer::duration>(within));
    while (!end_ || !drained_) {
        const auto [ec] = co_await changed_.async_wait(kTuple);
        if (!ec) co_return end_.has_value();
    }
    co_return true;
}

std::string ExecChild::last_words() const {
    std::string_view text = words_;
    while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.remove_suffix(1);
    if (const auto at = text.rfind('\n'); at != std::string_view::npos) text.remove_prefix(at + 1);
    if (text.empty()) return {};
    std::string line(text);
    for (const auto& secret : secrets_) line = redact(std::move(line), secret);
    return fmt::format("; the last it wrote to its error output: {}", quoted_excerpt(line));
}

// What went wrong, in words; it is dead by then.
asio::awaitable<Error> ExecChild::fault(std::optional<Error> failed, Duration within) {
    const bool ended_by_itself = !broken_ && failed->message.empty() && co_await gone(kTimeToEnd);
    kill();
    co_await gone(kTimeToDie);
    if (broken_ == Break::stopped) co_return cancelled("embedding was stopped before the program had answered; it was killed");
    if (broken_ == Break::timeout) {
        const double seconds = std::chrono::duration<double>(within).count();
        co_return error(ErrorClass::timeout,
                        fmt::format("the program did not answer within {:.3g} s and was killed{}", seconds, last_words()));
    }
    if (!failed->message.empty()) co_return *std::move(failed);
    const std::string end = ended_by_itself && end_ ? end_->text() : "closed its output";
    co_return error(ErrorClass::transient, fmt::format("the program {} before it had answered{}", end, last_words()));
}

asio::awaitable<Result<std::string>> ExecChild::exchange(std::string line, std::size_t most, Duration within,
                                                         std::stop_token stop) {
    const auto self = shared_from_this();
    const std::uint64_t ticket = ++ticket_;
    const std::weak_ptr<ExecChild> weak = self;
    deadline_.expires_after(std::min<asio::steady_timer::duration>(
        std::chrono::duration_cast<asio::steady_timer::duration>(std::max(within, Duration::zero())), kLongestWait));
    deadline_.async_wait([weak, ticket](const error_code& ec) {
        if (const auto held = weak.lock(); held && !ec) held->break_off(ticket, Break::timeout);
    });
    const std::stop_callback on_stop(stop, [weak, ticket, strand = strand_] {
        asio::post(strand, [weak, ticket] {
            if (const auto held = weak.lock()) held->break_off(ticket, Break::stopped);
        });
    });
    std::optional<Error> failed = co_await confirm_start();
    if (!failed) {
        send(std::move(line));
        failed = co_await read_line(most);
    }
    ++ticket_;
    deadline_.cancel();
    if (!failed && broken_) failed = error(ErrorClass::transient, {});
    if (failed) co_return co_await fault(std::move(failed), within);
    // It has answered all of the request, so the end of our writing is only not yet known here.
    changed_.expires_after(kTimeToEnd);
    while (!sent_) {
        const auto [ec] = co_await changed_.async_wait(kTuple);
        if (!ec) break;
    }
    co_return std::exchange(answer_, {});
}

}  // namespace homeostat
