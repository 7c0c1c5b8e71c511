#include "store/pg/connection.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <pqxx/connection>
#include <utility>
#include <vector>

#include "store/pg/pg_error.hpp"
#include "store/pg/session.hpp"

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

// One connection string a host: so each has its own time to answer.
std::vector<libpq::ConnectWords> targets_of(const std::string& url) {
    std::string problem;
    const std::optional<libpq::ConnectWords> all = libpq::parse_url(url, &problem);
    if (!all) throw StoreFailure(from_bad_url(problem));
    std::size_t hosts = 1;
    for (const char* word : {"host", "hostaddr"}) {
        if (const auto found = all->find(word); found != all->end()) hosts = std::max(hosts, split(found->second).size());
    }
    std::vector<libpq::ConnectWords> out(hosts, *all);
    for (std::size_t i = 0; hosts > 1 && i < hosts; ++i) {
        for (const char* word : {"host", "hostaddr", "port"}) {
            const auto found = out[i].find(word);
            if (found == out[i].end()) continue;
            const std::vector<std::string> parts = split(found->second);
            found->second = parts[std::min(i, parts.size() - 1)];
        }
    }
    return out;
}

int wait_for(int socket, short events, milliseconds timeout) {
    pollfd wait{.fd = socket, .events = events, .revents = 0};
    return ::poll(&wait, 1, static_cast<int>(std::max<milliseconds::rep>(timeout.count(), 0)));
}

// As libpq says it; where nothing was given, what it takes then.
std::string place_of(const libpq::ConnectWords& target) {
    const auto word = [&](const char* name, const char* otherwise) {
        const auto found = target.find(name);
        return found == target.end() || found->second.empty() ? std::string(otherwise) : found->second;
    };
    return fmt::format("the server at \"{}\", port {}", word("hostaddr", word("host", "local socket").c_str()),
                       word("port", "5432"));
}

std::string seconds_text(milliseconds length) {
    return length.count() % 1000 == 0 ? fmt::format("{}", length.count() / 1000)
                                      : fmt::format("{:.1f}", static_cast<double>(length.count()) / 1000);
}

pqxx::connection connect(const libpq::ConnectWords& target, milliseconds timeout, const std::stop_token& abandon) {
    const auto deadline = Clock::now() + timeout;
    pqxx::connecting attempt(libpq::url_of(target));
    while (!attempt.done()) {
        const auto left = std::chrono::ceil<milliseconds>(deadline - Clock::now());
        if (left.count() <= 0)
            throw StoreFailure(
                from_failed_connect(fmt::format("no answer from {} within {} s", place_of(target), seconds_text(timeout))));
        if (abandon.stop_requested()) throw StoreFailure(cancelled("stopped while connecting to the database"));
        const short events = attempt.wait_to_read() ? POLLIN : POLLOUT;
        if (wait_for(attempt.sock(), events, std::min(left, kGlance)) > 0) attempt.process();
    }
    return std::move(attempt).produce();
}

pqxx::connection connect(const ConnectionOptions& options) {
    const std::vector<libpq::ConnectWords> targets = targets_of(options.url);
    for (std::size_t i = 0;; ++i) {
        const bool last = i + 1 == targets.size() || options.abandon.stop_requested();
        try {
            return connect(targets[i], options.connect_timeout, options.abandon);
        } catch (const pqxx::failure& failure) {
            if (last) throw StoreFailure(from_failed_connect(failure.what()));
        } catch (const StoreFailure&) {
            if (last || options.abandon.stop_requested()) throw;
        }
    }
}

}  // namespace

// libpqxx says nowhere which libpq connection it owns, but for giving it away and taking it over: done once, before anything is
// asked over it.
Connection::Connection(ConnectionOptions options) : options_(std::move(options)) {
    borrowed_ = connect(options_).release_raw_connection();
    connection_ = std::make_unique<pqxx::connection>(pqxx::connection::seize_raw_connection(borrowed_));
    if (!libpq::prepare_to_fly(borrowed_)) throw StoreFailure(from_broken_link(libpq::error(borrowed_), false));
}

Connection::~Connection() = default;

bool Connection::usable() const noexcept { return !silent_ && libpq::open(borrowed_); }

Answer Connection::next(bool commits) {
    await_answer(commits);
    return libpq::next(borrowed_);
}

bool Connection::take_in() noexcept { return libpq::consume(borrowed_); }

void Connection::wait_for_input(milliseconds timeout) const { wait_for(libpq::socket(borrowed_), POLLIN, timeout); }

std::string Connection::quote_name(std::string_view identifier) const {
    try {
        return connection_->quote_name(identifier);
    } catch (const std::exception&) {
        throw StoreFailure(invalid(fmt::format("\"{}\" cannot be a name", identifier)));
    }
}

void Connection::await_answer(bool commits) {
    const auto began = Clock::now();
    auto heard = began;
    auto asks = heard + options_.quiet;
    Verdict before = Verdict::unknown;
    for (;;) {
        const libpq::Unsent unsent = libpq::flush(borrowed_);
        if (unsent == libpq::Unsent::broken || !libpq::busy(borrowed_)) return;  // what is wrong is in the answer
        if (options_.may_outlive && Clock::now() - began > options_.statement_timeout + options_.quiet) end_session();
        const auto events = static_cast<short>(unsent == libpq::Unsent::some ? POLLIN | POLLOUT : POLLIN);
        if (wait_for(libpq::socket(borrowed_), events, std::min(kGlance, options_.quiet)) > 0) {
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
bool Connection::late(Clock::duration silence) const {
    if (!introduced_) return silence >= options_.connect_timeout;
    return options_.statement_timeout.count() > 0 && silence > options_.statement_timeout + options_.quiet;
}

// Whether the server works for this session. One that waits for us to send or to take does not.
Connection::Verdict Connection::ask() const {
    if (!direct_) return Verdict::unknown;
    ConnectionOptions options = options_;
    options.connect_timeout = std::min({options.quiet, options.connect_timeout, kLongestQuestion});
    options.quiet = options.connect_timeout;
    try {
        Connection other(std::move(options));
        const std::string sql = fmt::format(
            "SELECT a.state = 'active' AND a.wait_event_type IS DISTINCT FROM 'Client'"
            " FROM pg_catalog.pg_stat_activity a WHERE a.pid = {}",
            libpq::backend_pid(borrowed_));
        if (!libpq::send_simple(other.borrow(), sql)) return Verdict::unreachable;
        const Answer answer = other.next(false);
        if (!libpq::good(answer.get())) return Verdict::unknown;
        const Rows rows(answer);
        if (rows.empty()) return Verdict::idle;
        if (rows.null(0, 0)) return Verdict::unknown;  // not ours to see
        return rows.boolean(0, 0) ? Verdict::busy : Verdict::idle;
    } catch (const StoreFailure&) {
        return Verdict::unreachable;
    }
}

// A function can catch that its statement was cancelled, and go on; that its session is ended it cannot. One of the same role may
// do that. Where it cannot be asked to, the server sees the end of the connection, and its keepalives do the rest.
void Connection::end_session() {
    silent_ = true;
    ConnectionOptions options = options_;
    options.connect_timeout = std::min(options.connect_timeout, kLongestQuestion);
    options.may_outlive = false;
    try {
        Connection other(std::move(options));
        const std::string sql = fmt::format("SELECT pg_catalog.pg_terminate_backend({})", libpq::backend_pid(borrowed_));
        if (direct_ && libpq::send_simple(other.borrow(), sql)) other.next(false);
    } catch (const StoreFailure&) {  // NOLINT(bugprone-empty-catch)
    }
    ::shutdown(libpq::socket(borrowed_), SHUT_RDWR);
    throw StoreFailure(from_sqlstate(kTookTooLong, "it went on after its statement timeout, and its session was ended"));
}

void Connection::give_up(const std::string& why, bool commits) {
    silent_ = true;
    // Nothing more is sent, not even a farewell; a server that still listens sees the end.
    ::shutdown(libpq::socket(borrowed_), SHUT_RDWR);
    throw StoreFailure(from_broken_link(why, commits));
}

}  // namespace homeostat
