#include "reconcilers/embed/credential_program.hpp"

#include <fmt/core.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cstring>
#include <memory>
#include <system_error>

#include "core/outside_text.hpp"
#include "reconcilers/embed/redaction.hpp"
#include "reconcilers/embed/request_text.hpp"
#include "reconcilers/embed/secret.hpp"

namespace homeostat {

namespace {

namespace asio = boost::asio;
using Strand = asio::strand<asio::any_io_executor>;

constexpr Duration kLongestPause = std::chrono::minutes(1);
constexpr Duration kAfterFailure = std::chrono::seconds(1);
constexpr Duration kAfterRefusal = std::chrono::seconds(5);
constexpr Duration kLongestLead = std::chrono::minutes(5);    // a fifth of its life, where that is less
constexpr Duration kLongestMargin = std::chrono::seconds(10);  // for the way to the endpoint; a twentieth, where that is less
constexpr Duration kShortestUse = std::chrono::seconds(1);  // so that what lives for no time is not printed for each request
constexpr std::size_t kMostWords = 300;

Duration pause(Duration first, unsigned times) { return std::min(kLongestPause, first * (1U << std::min(times, 10U))); }

Error refuse(std::string message) {
    return {.cls = ErrorClass::auth, .message = std::move(message), .origin = Origin::user, .code = std::string(kCredentialCode)};
}

// A timer that whoever runs elsewhere ends, before it is waited for or after.
struct Sleeper {
    explicit Sleeper(const asio::any_io_executor& executor) : strand(asio::make_strand(executor)), timer(strand) {}
    Strand strand;
    asio::steady_timer timer;
};

void wake(const std::shared_ptr<Sleeper>& sleeper) {
    asio::post(sleeper->strand, [sleeper] { sleeper->timer.expires_after(asio::steady_timer::duration::zero()); });
}

asio::awaitable<void> sleep(std::shared_ptr<Sleeper> sleeper) {
    co_await sleeper->timer.async_wait(asio::as_tuple(asio::use_awaitable));
}

// Where it begins with a trace of calls, what matters comes last.
std::string_view telling(std::string_view words) {
    while (!words.empty() && (words.back() == '\n' || words.back() == ' ')) words.remove_suffix(1);
    if (words.starts_with("Traceback ") && words.rfind('\n') != std::string_view::npos)
        words.remove_prefix(words.rfind('\n') + 1);
    return words;
}

// Whoever traces what it does writes the secret to its error output, too.
std::string cleaned(std::string_view words, std::string_view output) {
    std::vector<std::string> printed;
    while (!output.empty()) {
        const std::size_t end = std::min(output.find_first_of(" \t\r\n\"{}:,"), output.size());
        if (end >= 8) printed.emplace_back(output.substr(0, end));
        output.remove_prefix(std::min(end + 1, output.size()));
    }
    return outside_text(redact_all(std::string(telling(words)), printed), kMostWords);
}

}  // namespace

CredentialProgram::CredentialProgram(std::string name, std::vector<std::string> command, const Clock& clock, Duration within)
    : name_(std::move(name)),
      command_(std::move(command)),
      clock_(clock),
      within_(within),
      stop_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

CredentialProgram::~CredentialProgram() {
    constexpr std::uint64_t kOne = 1;
    [[maybe_unused]] const ssize_t told = ::write(stop_.get(), &kOne, sizeof kOne);
    std::jthread last;
    {
        const Lock lock(mutex_);
        last = std::move(worker_);
    }
    if (last.joinable()) last.join();
}

bool CredentialProgram::holds(SteadyTime now) const { return held_ && (!held_->ends || now < *held_->ends); }

// Nothing to go on with, and more is to come.
bool CredentialProgram::lacking(SteadyTime now) const { return running_ && (!holds(now) || held_->refused); }

Result<std::string> CredentialProgram::held() const {
    const Lock lock(mutex_);
    // What was refused is not sent again where it is known that there is no other.
    if (holds(clock_.steady_now()) && !(held_->refused && failed_)) return held_->secret;
    if (failed_) return *failed_;
    if (running_) return refuse(fmt::format("the program {} of secret \"{}\" has not printed it yet", command_.front(), name_));
    return refuse(fmt::format("secret \"{}\" is printed by a program, which is for credential and headers only", name_));
}

std::size_t CredentialProgram::mark() const {
    const Lock lock(mutex_);
    if (!held_ || (failed_ && (held_->refused || !holds(clock_.steady_now())))) return 1;
    return std::hash<std::string>{}(held_->secret) | 2U;
}

void CredentialProgram::look() {
    const Lock lock(mutex_);
    start_if_due(clock_.steady_now());
}

asio::awaitable<void> CredentialProgram::ready(SteadyTime deadline, std::stop_token stop) {
    const auto executor = co_await asio::this_coro::executor;
    std::shared_ptr<Sleeper> sleeper;
    {
        const Lock lock(mutex_);
        const SteadyTime now = clock_.steady_now();
        start_if_due(now);
        if (lacking(now)) {
            sleeper = std::make_shared<Sleeper>(executor);
            sleeper->timer.expires_after(std::chrono::duration_cast<asio::steady_timer::duration>(
                std::clamp(deadline - now, Duration::zero(), 2 * within_)));
            waiting_.emplace_back([sleeper] { wake(sleeper); });
        }
    }
    if (!sleeper) co_return;
    const std::stop_callback on_stop(stop, [sleeper] { wake(sleeper); });
    co_await asio::co_spawn(sleeper->strand, sleep(sleeper), asio::use_awaitable);
}

void CredentialProgram::refused(const std::string& secret) {
    const Lock lock(mutex_);
    if (!held_ || held_->secret != secret) return;
    held_->refused = true;
    start_if_due(clock_.steady_now());
}

void CredentialProgram::accepted() {
    const Lock lock(mutex_);
    if (!held_ || held_->refused) return;
    refusals_ = 0;
    next_refused_run_ = {};
}

void CredentialProgram::start_if_due(SteadyTime now) {
    if (running_) return;
    if (holds(now) && held_->refused && now >= next_refused_run_ && now >= next_run_) {
        next_refused_run_ = now + pause(kAfterRefusal, refusals_++);
        return start();
    }
    const bool renew = !holds(now) || (held_->renew && now >= *held_->renew);
    if (renew && now >= next_run_) start();
}

void CredentialProgram::start() {
    try {
        worker_ = std::jthread([this] { run(); });  // the one before has ended, or is about to
        running_ = true;
    } catch (const std::system_error& e) {
        failed_ = refuse(fmt::format("the program {} of secret \"{}\" was not started: {}", command_.front(), name_, e.what()));
        next_run_ = clock_.steady_now() + pause(kAfterFailure, failures_++);
    }
}

void CredentialProgram::run() {
    Result<PrintedCredential> printed = read(run_operator_program(command_, within_, stop_.get()));
    std::vector<std::function<void()>> waiting;
    {
        const Lock lock(mutex_);
        take(std::move(printed), clock_.steady_now());
        running_ = false;
        waiting.swap(waiting_);
    }
    for (const auto& wake_one : waiting) wake_one();
}

void CredentialProgram::take(Result<PrintedCredential> printed, SteadyTime now) {
    if (!printed) {
        failed_ = std::move(printed).error();
        next_run_ = now + pause(kAfterFailure, failures_++);
        return;
    }
    failed_.reset();
    failures_ = 0;
    // The same again is as refused as before.
    Held held{.secret = std::move(printed->secret), .renew = {}, .ends = {}, .refused = false};
    held.refused = held_ && held_->refused && held_->secret == held.secret;
    if (const std::optional<Duration> lives = printed->lives) {
        held.ends = now + std::max(kShortestUse, *lives - std::min(kLongestMargin, *lives / 20));
        held.renew = std::max(now + kShortestUse, *held.ends - std::min(kLongestLead, *lives / 5));
    }
    held_ = std::move(held);
}

Result<PrintedCredential> CredentialProgram::read(ProgramEnd end) const {
    using How = ProgramEnd::How;
    switch (end.how) {
        case How::not_started: return failure(fmt::format("was not started: {}", std::strerror(end.number)), end);
        case How::by_signal: return failure(fmt::format("was ended by signal {}", end.number), end);
        case How::stopped: return failure("was stopped", end);
        case How::too_much: return failure(fmt::format("printed more than {} KiB and was killed", kMostPrinted / 1024), end);
        case How::late:
            return failure(
                fmt::format("did not end within {:.3g} s and was killed", std::chrono::duration<double>(within_).count()), end);
        case How::ended: break;
    }
    if (end.number != 0) return failure(fmt::format("ended with code {}", end.number), end);
    Result<PrintedCredential> printed = read_printed_credential(end.output, clock_.now());
    if (!printed) return failure(printed.error().message, end);
    return printed;
}

Error CredentialProgram::failure(std::string_view what, const ProgramEnd& end) const {
    const std::string words = cleaned(end.words, end.output);
    return refuse(fmt::format("the program {} of secret \"{}\" {}{}{}", command_.front(), name_, what,
                              words.empty() ? "" : "; it wrote: ", words));
}

}  // namespace homeostat
