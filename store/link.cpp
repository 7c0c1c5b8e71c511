#include "store/link.hpp"

#include <fmt/format.h>
#include <libpq-fe.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <string_view>
#include <vector>

#include "store/pg_error.hpp"
#include "store/session.hpp"

namespace homeostat {

using std::chrono::milliseconds;

namespace {

using Clock = std::chrono::steady_clock;
using Handle = std::unique_ptr<pg_conn, void (*)(pg_conn*)>;

constexpr milliseconds kGlance{200};  // between looks at `abandon`
constexpr milliseconds kLongestQuestion{3'000};
constexpr milliseconds kAgain{500};  // before a question whose answer is doubted is asked again

std::vector<std::string> split(std::string_view list) {
    std::vector<std::string> out;
    for (;;) {
        const std::size_t comma = list.find(',');
        out.emplace_back(list.substr(0, comma));
        if (comma == std::string_view::npos) return out;
        list.remove_prefix(comma + 1);
    }
}

// One set of parameters a host: so each has its own time to answer.
struct Target {
    std::vector<std::string> names;
    std::vector<std::string> values;
};

std::vector<Target> targets_of(const std::string& url) {
    char* problem = nullptr;
    const std::unique_ptr<PQconninfoOption, void (*)(PQconninfoOption*)> options(PQconninfoParse(url.c_str(), &problem),
                                                                                 &PQconninfoFree);
    if (!options) {
        const std::unique_ptr<char, void (*)(void*)> owned(problem, &PQfreemem);
        throw StoreFailure(from_bad_url(problem != nullptr ? problem : "it cannot be read"));
    }
    Target all;
    std::size_t hosts = 1;
    for (const PQconninfoOption* o = options.get(); o->keyword != nullptr; ++o) {
        if (o->val == nullptr) continue;
        all.names.emplace_back(o->keyword);
        all.values.emplace_back(o->val);
        if (all.names.back() == "host" || all.names.back() == "hostaddr") hosts = std::max(hosts, split(o->val).size());
    }
    std::vector<Target> out;
    for (std::size_t i = 0; i < hosts; ++i) {
        Target one = all;
        for (std::size_t k = 0; hosts > 1 && k < one.names.size(); ++k) {
            if (one.names[k] != "host" && one.names[k] != "hostaddr" && one.names[k] != "port") continue;
            const std::vector<std::string> parts = split(one.values[k]);
            one.values[k] = parts[std::min(i, parts.size() - 1)];
        }
        out.push_back(std::move(one));
    }
    return out;
}

int wait_for(int socket, short events, milliseconds timeout) {
    pollfd wait{.fd = socket, .events = events, .revents = 0};
    return ::poll(&wait, 1, static_cast<int>(std::max<milliseconds::rep>(timeout.count(), 0)));
}

Handle begin_connecting(const Target& target) {
    std::vector<const char*> names;
    std::vector<const char*> values;
    for (std::size_t i = 0; i < target.names.size(); ++i) {
        names.push_back(target.names[i].c_str());
        values.push_back(target.values[i].c_str());
    }
    names.push_back(nullptr);
    values.push_back(nullptr);
    Handle handle(PQconnectStartParams(names.data(), values.data(), 0), &PQfinish);
    if (!handle) throw std::bad_alloc();
    return handle;
}

std::string value_of(const Target& target, std::string_view name) {
    for (std::size_t i = 0; i < target.names.size(); ++i) {
        if (target.names[i] == name) return target.values[i];
    }
    return "";
}

// As libpq says it; where nothing was given, what it takes then.
std::string place_of(const Target& target) {
    const std::string host = value_of(target, "hostaddr").empty() ? value_of(target, "host") : value_of(target, "hostaddr");
    const std::string port = value_of(target, "port");
    return fmt::format("the server at \"{}\", port {}", host.empty() ? "local socket" : host, port.empty() ? "5432" : port);
}

std::string seconds_text(milliseconds length) {
    return length.count() % 1000 == 0 ? fmt::format("{}", length.count() / 1000)
                                      : fmt::format("{:.1f}", static_cast<double>(length.count()) / 1000);
}

Handle connect(const Target& target, milliseconds timeout, const std::stop_token& abandon) {
    Handle handle = begin_connecting(target);
    const auto deadline = Clock::now() + timeout;
    PostgresPollingStatusType state = PGRES_POLLING_WRITING;
    while (PQstatus(handle.get()) != CONNECTION_BAD && state != PGRES_POLLING_OK && state != PGRES_POLLING_FAILED) {
        const auto left = std::chrono::ceil<milliseconds>(deadline - Clock::now());
        if (left.count() <= 0)
            throw StoreFailure(
                from_failed_connect(fmt::format("no answer from {} within {} s", place_of(target), seconds_text(timeout))));
        if (abandon.stop_requested()) throw StoreFailure(cancelled("stopped while connecting to the database"));
        const short events = state == PGRES_POLLING_READING ? POLLIN : POLLOUT;
        if (wait_for(PQsocket(handle.get()), events, std::min(left, kGlance)) == 0) continue;
        state = PQconnectPoll(handle.get());
    }
    if (PQstatus(handle.get()) != CONNECTION_OK) throw StoreFailure(from_failed_connect(PQerrorMessage(handle.get())));
    return handle;
}

Handle connect(const LinkOptions& options) {
    const std::vector<Target> targets = targets_of(options.url);
    for (std::size_t i = 0;; ++i) {
        try {
            return connect(targets[i], options.connect_timeout, options.abandon);
        } catch (const StoreFailure&) {
            if (i + 1 == targets.size() || options.abandon.stop_requested()) throw;
        }
    }
}

}  // namespace

Link::Link(LinkOptions options) : options_(std::move(options)), connection_(connect(options_)) {
    PQsetNoticeReceiver(connection_.get(), [](void*, const PGresult*) {}, nullptr);
    if (PQsetnonblocking(connection_.get(), 1) != 0)
        throw StoreFailure(from_broken_link(PQerrorMessage(connection_.get()), false));
}

Link::~Link() = default;

bool Link::usable() const noexcept { return !silent_ && PQstatus(connection_.get()) == CONNECTION_OK; }

std::shared_ptr<const pg_result> Link::next(bool commits) {
    await_answer(commits);
    return {PQgetResult(connection_.get()), [](const PGresult* r) { PQclear(const_cast<PGresult*>(r)); }};
}

bool Link::take_in() noexcept { return PQconsumeInput(connection_.get()) == 1; }

void Link::wait_for_input(milliseconds timeout) const { wait_for(PQsocket(connection_.get()), POLLIN, timeout); }

void Link::await_answer(bool commits) {
    const auto began = Clock::now();
    auto heard = began;
    auto asks = heard + options_.quiet;
    Verdict before = Verdict::unknown;
    for (;;) {
        const int unsent = PQflush(connection_.get());
        if (unsent < 0 || PQisBusy(connection_.get()) == 0) return;  // what is wrong is in the answer
        if (options_.may_outlive && Clock::now() - began > options_.statement_timeout + options_.quiet) end_session();
        const auto events = static_cast<short>(unsent > 0 ? POLLIN | POLLOUT : POLLIN);
        if (wait_for(PQsocket(connection_.get()), events, std::min(kGlance, options_.quiet)) > 0) {
            if (!take_in()) return;
            heard = Clock::now();
            asks = heard + options_.quiet;
            before = Verdict::unknown;
            continue;
        }
        if (options_.abandon.stop_requested()) give_up("the program is stopping", commits);
        const auto now = Clock::now();
        if (now < asks) continue;
        const Verdict verdict = ask();
        // Twice in a row, as the answer may have been on its way while it was asked.
        const bool silent = verdict == before && (verdict == Verdict::idle || verdict == Verdict::unreachable);
        if (silent || (verdict == Verdict::unknown && late(now - heard))) {
            give_up(fmt::format("it fell silent: no answer for {} ms", std::chrono::ceil<milliseconds>(now - heard).count()),
                    commits);
        }
        before = verdict;
        asks = Clock::now() + (verdict == Verdict::busy ? options_.quiet : std::min(options_.quiet, kAgain));
    }
}

// Where nobody can be asked, by the server's own time.
bool Link::late(Clock::duration silence) const {
    if (!introduced_) return silence >= options_.connect_timeout;
    return options_.statement_timeout.count() > 0 && silence > options_.statement_timeout + options_.quiet;
}

// Whether the server works for this session. One that waits for us to send or to take does not.
Link::Verdict Link::ask() const {
    if (!direct_) return Verdict::unknown;
    LinkOptions options = options_;
    options.connect_timeout = std::min({options.quiet, options.connect_timeout, kLongestQuestion});
    options.quiet = options.connect_timeout;
    try {
        Link other(std::move(options));
        const std::string sql = fmt::format(
            "SELECT a.state = 'active' AND a.wait_event_type IS DISTINCT FROM 'Client'"
            " FROM pg_catalog.pg_stat_activity a WHERE a.pid = {}",
            PQbackendPID(connection_.get()));
        if (PQsendQuery(other.get(), sql.c_str()) != 1) return Verdict::unreachable;
        const std::shared_ptr<const pg_result> answer = other.next(false);
        if (PQresultStatus(answer.get()) != PGRES_TUPLES_OK) return Verdict::unknown;
        if (PQntuples(answer.get()) == 0) return Verdict::idle;
        if (PQgetisnull(answer.get(), 0, 0) == 1) return Verdict::unknown;  // not ours to see
        return std::string_view(PQgetvalue(answer.get(), 0, 0)) == "t" ? Verdict::busy : Verdict::idle;
    } catch (const StoreFailure&) {
        return Verdict::unreachable;
    }
}

// A function can catch that its statement was cancelled, and go on; that its session is ended it cannot. One of the same role may
// do that. Where it cannot be asked to, the server sees the end of the connection, and its keepalives do the rest.
void Link::end_session() {
    silent_ = true;
    LinkOptions options = options_;
    options.connect_timeout = std::min(options.connect_timeout, kLongestQuestion);
    options.may_outlive = false;
    try {
        Link other(std::move(options));
        const std::string sql = fmt::format("SELECT pg_catalog.pg_terminate_backend({})", PQbackendPID(connection_.get()));
        if (direct_ && PQsendQuery(other.get(), sql.c_str()) == 1) other.next(false);
    } catch (const StoreFailure&) {  // NOLINT(bugprone-empty-catch)
    }
    ::shutdown(PQsocket(connection_.get()), SHUT_RDWR);
    throw StoreFailure(from_sqlstate(kTookTooLong, "it went on after its statement timeout, and its session was ended"));
}

void Link::give_up(const std::string& why, bool commits) {
    silent_ = true;
    // Nothing more is sent, not even a farewell; a server that still listens sees the end.
    ::shutdown(PQsocket(connection_.get()), SHUT_RDWR);
    throw StoreFailure(from_broken_link(why, commits));
}

}  // namespace homeostat
