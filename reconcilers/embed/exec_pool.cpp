#include "reconcilers/embed/exec_pool.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "core/log_fields.hpp"
#include "core/outside_text.hpp"
#include "reconcilers/embed/exec_protocol.hpp"
#include "reconcilers/embed/redaction.hpp"

namespace homeostat {

namespace {

namespace asio = boost::asio;
using boost::system::error_code;

constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);
constexpr std::chrono::hours kLongestWait{24};

std::string length_text(std::chrono::milliseconds length) {
    const double seconds = std::chrono::duration<double>(length).count();
    if (seconds < 60) return fmt::format("{:.3g} s", seconds);
    return seconds < 3600 ? fmt::format("{:.3g} min", seconds / 60) : fmt::format("{:.3g} h", seconds / 3600);
}

bool refuses_text(const Error& e) { return e.cls == ErrorClass::content || e.cls == ErrorClass::too_large; }

}  // namespace

// One of the programs that may run at a time; given back when the request is over, however it ends.
class ExecPool::Turn {
public:
    explicit Turn(ExecPool& pool) : pool_(pool), probes_(pool.probing_) {}
    ~Turn() {
        --pool_.busy_;
        if (probes_) pool_.probing_ = false;
        pool_.wake_all();
    }
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

    bool probes() const noexcept { return probes_; }
    void probed() {
        probes_ = false;
        pool_.probing_ = false;
        pool_.wake_all();
    }

private:
    ExecPool& pool_;
    bool probes_;
};

ExecPool::ExecPool(ExecPoolSettings settings, const asio::any_io_executor& executor, const Clock& clock)
    : settings_(std::move(settings)),
      strand_(asio::make_strand(executor)),
      clock_(clock),
      quarantine_(settings_.quarantine),
      idle_timer_(strand_) {}

asio::awaitable<Status> ExecPool::ask(ExecQuestion question, SteadyTime deadline, std::stop_token stop) {
    const auto self = shared_from_this();
    if (Status turn = co_await take_turn(deadline, stop); !turn) co_return std::move(turn).error();
    Turn turn(*this);
    if (turn.probes()) {
        if (Status trusted = co_await probe(deadline, stop); !trusted) co_return std::move(trusted).error();
        turn.probed();
    }
    Result<Idle> taken = take_child();
    if (!taken) co_return std::move(taken).error();
    if (question.begins) question.begins();
    Status answer = co_await converse(taken->child, std::move(question), FaultAt::documents, deadline, stop);
    give_back(*std::move(taken));
    co_return answer;
}

asio::awaitable<Status> ExecPool::prove(SteadyTime deadline, std::stop_token stop) {
    const auto self = shared_from_this();
    if (Status turn = co_await take_turn(deadline, stop); !turn) co_return std::move(turn).error();
    Turn turn(*this);
    Status trusted = co_await probe(deadline, stop);
    if (trusted && turn.probes()) turn.probed();
    co_return trusted;
}

asio::awaitable<Status> ExecPool::take_turn(SteadyTime deadline, std::stop_token stop) {
    for (;;) {
        const SteadyTime now = clock_.steady_now();
        if (stop.stop_requested() || closed_) co_return cancelled("stopped before the program was asked");
        if (now >= deadline) {
            co_return Error{
                .cls = ErrorClass::timeout,
                .message = "the deadline passed before the program could be asked; give it longer, or raise max_in_flight",
                .origin = Origin::ours};
        }
        if (const auto until = quarantine_.until(now)) co_return quarantined(*until);
        if (busy_ < settings_.most_children && !probing_) {
            ++busy_;
            probing_ = quarantine_.unproven();
            co_return Status{};
        }
        co_await wait(deadline, stop);
    }
}

asio::awaitable<void> ExecPool::wait(SteadyTime deadline, std::stop_token stop) {
    const auto timer = std::make_shared<asio::steady_timer>(strand_);
    timer->expires_after(std::min<Duration>(deadline - std::min(deadline, clock_.steady_now()), kLongestWait));
    const auto place = waiting_.insert(waiting_.end(), timer);
    {
        const std::stop_callback on_stop(stop, [strand = strand_, timer] { asio::post(strand, [timer] { timer->cancel(); }); });
        co_await timer->async_wait(kTuple);
    }
    waiting_.erase(place);
}

void ExecPool::wake_all() {
    for (const auto& timer : waiting_) timer->cancel();
}

asio::awaitable<Status> ExecPool::probe(SteadyTime deadline, std::stop_token stop) {
    Result<Idle> fresh = new_child();
    if (!fresh) co_return std::move(fresh).error();
    ExecQuestion question = settings_.probe;
    const Status answer = co_await converse(fresh->child, std::move(question), FaultAt::harmless_text, deadline, stop);
    fresh->child->kill();
    if (answer) co_return Status{};
    Error error = answer.error();
    if (error.cls == ErrorClass::invalid || error.cls == ErrorClass::local || error.cls == ErrorClass::cancelled) co_return error;
    if (!refuses_text(error)) co_return error.with_prefix("the probe failed");
    // There is no text more harmless; what refuses it refuses everything, and nobody's document is to blame.
    error.cls = ErrorClass::bad_answer;
    error.origin = Origin::theirs;
    note_fault(error, FaultAt::harmless_text);
    co_return error.with_prefix("the program refuses a text of four words");
}

// Whatever comes of it is noted here, in the one place that knows the protocol's refusals from the program's faults.
asio::awaitable<Status> ExecPool::converse(ChildPtr child, ExecQuestion question, FaultAt at, SteadyTime deadline,
                                           std::stop_token stop) {
    const std::uint64_t id = child->next_id();
    const Duration left = deadline - std::min(deadline, clock_.steady_now());
    const Duration within = std::min<Duration>(left, settings_.timeout);
    auto line = co_await child->exchange(exec_request_line(id, question.tail), question.most, within, stop);
    if (!line) {
        const ErrorClass cls = line.error().cls;
        // Who gave it less than half its time cannot blame it for not being done.
        const bool patient = within >= settings_.timeout / 2;
        if (cls == ErrorClass::transient || cls == ErrorClass::bad_answer || (cls == ErrorClass::timeout && patient)) {
            note_fault(line.error(), at);
        }
        co_return std::move(line).error();
    }
    Status answer = question.read(*std::move(line), id);
    if (answer || answer.error().cls != ErrorClass::bad_answer) {
        if (answer || at == FaultAt::documents || !refuses_text(answer.error())) note_success();
        co_return answer;
    }
    child->kill();
    note_fault(answer.error(), at);
    co_return answer;
}

Result<ExecPool::Idle> ExecPool::take_child() {
    while (!idle_.empty()) {
        Idle last = std::move(idle_.back());
        idle_.pop_back();
        if (last.child->fit()) return last;
        last.child->kill();
    }
    return new_child();
}

Result<ExecPool::Idle> ExecPool::new_child() {
    auto child = ExecChild::start(strand_, settings_.sandbox, settings_.report, settings_.secrets);
    if (!child) return std::move(child).error();
    const SteadyTime now = clock_.steady_now();
    return Idle{.child = *std::move(child), .since = now, .born = now};
}

void ExecPool::give_back(Idle child) {
    const SteadyTime now = clock_.steady_now();
    child.since = now;
    const bool old = now - child.born >= settings_.sandbox.lifetime;
    if (closed_ || old || quarantine_.until(now) || !child.child->fit()) return child.child->kill();
    idle_.push_back(std::move(child));
    if (idle_.size() == 1) watch_idle();
}

void ExecPool::watch_idle() {
    if (idle_.empty()) return;
    idle_timer_.expires_after(settings_.idle);
    idle_timer_.async_wait([weak = weak_from_this()](const error_code& ec) {
        const auto self = weak.lock();
        if (!self || ec) return;
        self->end_idle();
        self->watch_idle();
    });
}

// Looked at once in each of these spans, so that one is ended after at most two of them.
void ExecPool::end_idle() {
    const SteadyTime now = clock_.steady_now();
    std::erase_if(idle_, [&](const Idle& idle) {
        const bool over = now - idle.since >= settings_.idle;
        if (over) idle.child->kill();
        return over;
    });
}

void ExecPool::close() {
    asio::post(strand_, [self = shared_from_this()] {
        self->closed_ = true;
        for (const Idle& idle : self->idle_) idle.child->kill();
        self->idle_.clear();
        self->idle_timer_.cancel();
        self->wake_all();
    });
}

void ExecPool::note_fault(const Error& error, FaultAt at) {
    const SteadyTime now = clock_.steady_now();
    if (quarantine_.fault(now, told(error), at)) begin_quarantine(now);
}

void ExecPool::distrust(const Error& error) {
    const SteadyTime now = clock_.steady_now();
    if (quarantine_.distrust(now, told(error))) begin_quarantine(now);
}

std::string ExecPool::told(const Error& error) const { return outside_text(redact_all(error.message, settings_.secrets)); }

void ExecPool::begin_quarantine(SteadyTime now) {
    const SteadyTime until = *quarantine_.until(now);
    const std::string reason = quarantined(until).message;
    const LogFields about{{settings_.kind, settings_.name}};
    spdlog::warn("{} \"{}\": {}", settings_.kind, settings_.name, reason);
    for (const Idle& idle : idle_) idle.child->kill();
    idle_.clear();
    const Lock lock(mutex_);
    reason_ = reason;
    reason_until_ = until;
}

void ExecPool::note_success() {
    if (!quarantine_.success(clock_.steady_now())) return;
    spdlog::info("{} \"{}\": the program answers again and is out of quarantine", settings_.kind, settings_.name);
    const Lock lock(mutex_);
    reason_.clear();
}

Error ExecPool::quarantined(SteadyTime until) const {
    const Duration left = until - clock_.steady_now();
    const auto wall = std::chrono::time_point_cast<std::chrono::seconds>(
        clock_.now() + std::chrono::duration_cast<std::chrono::system_clock::duration>(left));
    Error e{.cls = ErrorClass::unavailable,
            .message = fmt::format("quarantined for {}, until {:%Y-%m-%d %H:%M:%S} UTC, after {} faults in a row; the last: {}",
                                   length_text(quarantine_.length()), fmt::gmtime(std::chrono::system_clock::to_time_t(wall)),
                                   quarantine_.faults(), quarantine_.last_fault()),
            .origin = Origin::theirs};
    e.retry_after = std::chrono::ceil<std::chrono::milliseconds>(left);
    return e;
}

std::string ExecPool::quarantine_reason() const {
    const SteadyTime now = clock_.steady_now();
    const Lock lock(mutex_);
    return now < reason_until_ ? reason_ : std::string();
}

}  // namespace homeostat
