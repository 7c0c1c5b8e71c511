// A scripted OpenAI-compatible embeddings endpoint over real HTTP or HTTPS, on a port the system chooses.
//
// Vectors are a pure function of the text, so a test can tell which text a stored vector belongs to. What goes wrong is scripted:
// next() for the coming requests in order, when_text() for every request that holds a text, always() for the rest. Requests are
// recorded and counted. All calls are safe from any thread; the destructor ends all connections and joins all threads.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <list>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "core/sync.hpp"
#include "tests/kit/fake_wire.hpp"

namespace homeostat::kit {

enum class Flaw : std::uint8_t {
    none,
    wrong_count,  // one vector too few
    extra_vector,  // one too many
    reordered,  // backwards, with the right indices: not a fault
    duplicate_index,  // the first index twice
    short_vector,
    long_vector,
    nan_vector,  // in the last vector
    infinite_vector,
    zero_vector,
    other_model,
    dated_model,  // the model asked for with a date behind it: not a fault
    no_usage,  // and no model, no indices: not a fault
    early_hints,  // 100 and 103 before the answer: not a fault
    chunked,  // Transfer-Encoding: chunked: not a fault
    truncated,  // half the body, then the end of the connection
    html,  // 200 with a page
    garbage,  // 200 with bytes that are no JSON
    not_http,
    drop_before,  // the connection is reset before the work is done
    drop_after,  // the connection ends after the work was done (and would be billed)
};

struct FakeAnswer {
    Flaw flaw = Flaw::none;
    int status = 200;
    std::vector<std::pair<std::string, std::string>> headers{};
    std::string body{};  // sent as it is; "" = made up: vectors for status 200, an error of OpenAI's shape else
    std::chrono::milliseconds delay{0};
    std::string wire{};  // all that is sent, head and framing too; {vectors} in it is the right body, {size} the bytes of that
    std::chrono::milliseconds drip{0};  // between twenty parts of the answer
    bool hangs_up = false;  // the connection ends behind the answer
};

struct FakeRequest {
    WireRequest http;
    std::string model;
    std::string encoding = "float";
    std::uint32_t dimensions = 0;  // 0 = not asked for
    std::vector<std::string> texts;
};

struct FakeEndpointOptions {
    std::uint16_t port = 0;
    std::uint32_t dimensions = 384;  // where the request asks for none
    bool tls = false;
    bool knows_clients = false;  // by certificates of its own CA only
    std::string names = "DNS:localhost,IP:127.0.0.1";  // the certificate is for
    std::size_t keep_requests = 1000;  // recorded at most; older ones are forgotten, counts go on
    std::chrono::milliseconds delay{0};  // of every answer
    std::size_t max_texts = 0;  // of a request; more are refused with 400. 0 = any
    std::uint64_t max_tokens = 0;  // likewise
    std::size_t max_bytes = 0;  // likewise, of a request's body
    bool says_limits = true;  // in its refusals
    int limit_status = 400;
    std::string limit_says;  // instead of words of its own; {limit} and {got} stand for the numbers
    std::uint64_t max_text_tokens = 0;  // of one text: a request that holds a longer one is refused with text_says
    std::string text_says = "This model's maximum context length is {limit} tokens, however you requested {got} tokens";
    std::chrono::milliseconds delay_a_text{0};  // of an answer, besides
    std::size_t mixes_above = 0;  // texts of a request; an answer to more of them has the flaw `mixes`. 0 = none has
    Flaw mixes = Flaw::none;
    double requests_a_second = 0;  // more are refused with 429, by a token bucket that is full at first. 0 = any number
    double burst = 1;  // requests that the bucket holds
    std::string retry_after;  // the header of such a refusal; "" = none
    std::string salt;  // makes another model of it: the vectors are those of salt + text
};

class FakeEndpoint {
public:
    explicit FakeEndpoint(FakeEndpointOptions options = {});  // throws where it cannot listen
    ~FakeEndpoint();
    FakeEndpoint(const FakeEndpoint&) = delete;
    FakeEndpoint& operator=(const FakeEndpoint&) = delete;

    std::uint16_t port() const noexcept { return port_; }
    std::string url() const;  // http://127.0.0.1:PORT/v1
    std::string ca_file() const { return ca_ ? ca_->ca_file() : std::string(); }

    const TestCa& ca() const { return *ca_; }

    void next(FakeAnswer answer, std::size_t times = 1) EXCLUDES(mutex_);
    void when_text(std::string part, FakeAnswer answer) EXCLUDES(mutex_);
    void always(FakeAnswer answer) EXCLUDES(mutex_);
    void forget_script() EXCLUDES(mutex_);
    // Requests that arrive wait for their answers until they are released.
    void withhold() EXCLUDES(mutex_);
    void release() EXCLUDES(mutex_);
    // From now on vectors are those of another model, under the same name.
    void become(std::string salt) EXCLUDES(mutex_);
    // Ends every open connection from this side, as a server does that restarts.
    void drop_connections() EXCLUDES(mutex_);

    std::vector<FakeRequest> requests() const EXCLUDES(mutex_);
    std::uint64_t calls() const noexcept { return calls_; }  // requests worked on
    std::uint64_t texts() const noexcept { return texts_; }  // texts embedded: what would be billed
    std::uint64_t refused() const noexcept { return refused_; }  // requests over requests_a_second
    std::uint64_t over_limits() const noexcept { return over_limits_; }  // requests over max_texts, max_tokens, max_bytes
    std::uint64_t connections() const noexcept { return accepted_; }
    // Blocks until so many requests have arrived, answered or not; false after ten seconds.
    bool wait_for_requests(std::uint64_t n) EXCLUDES(mutex_);

    static std::vector<float> vector_of(std::string_view text, std::uint32_t dimensions);
    static std::uint64_t tokens_of(std::string_view text) noexcept { return text.size() / 4 + 1; }

private:
    struct Session {
        Session(int fd, SSL_CTX* tls) : wire(fd, tls) {}
        Wire wire;
        std::atomic<bool> over{false};
        std::thread thread;
    };
    std::string salt() EXCLUDES(mutex_);
    void accept_loop();
    void reap() REQUIRES(mutex_);
    void serve(Session& session);
    bool handle(Wire& wire, WireRequest http);
    std::optional<FakeAnswer> over_limit(const FakeRequest& request) const;
    FakeAnswer take_answer(const FakeRequest& request) EXCLUDES(mutex_);
    bool over_rate() REQUIRES(mutex_);
    bool wait(std::chrono::milliseconds delay) EXCLUDES(mutex_);
    bool wait_for_release() EXCLUDES(mutex_);
    bool send(Wire& wire, const FakeRequest& request, const FakeAnswer& answer);
    bool write(Wire& wire, std::string_view message, std::chrono::milliseconds drip) EXCLUDES(mutex_);

    const FakeEndpointOptions options_;
    std::optional<std::string> salt_ GUARDED_BY(mutex_);
    std::unique_ptr<TestCa> ca_;
    int listener_ = -1;
    std::uint16_t port_ = 0;
    std::atomic<std::uint64_t> calls_{0};
    std::atomic<std::uint64_t> texts_{0};
    std::atomic<std::uint64_t> refused_{0};
    std::atomic<std::uint64_t> over_limits_{0};
    std::atomic<std::uint64_t> accepted_{0};

    std::stop_source stop_;
    mutable Mutex mutex_;
    CondVar changed_;
    std::uint64_t arrived_ GUARDED_BY(mutex_) = 0;
    double bucket_ GUARDED_BY(mutex_) = 0;  // requests that may come now
    std::chrono::steady_clock::time_point filled_ GUARDED_BY(mutex_);
    std::deque<FakeAnswer> script_ GUARDED_BY(mutex_);
    std::vector<std::pair<std::string, FakeAnswer>> by_text_ GUARDED_BY(mutex_);
    FakeAnswer always_ GUARDED_BY(mutex_);
    bool withheld_ GUARDED_BY(mutex_) = false;
    std::deque<FakeRequest> requests_ GUARDED_BY(mutex_);
    std::list<Session> sessions_ GUARDED_BY(mutex_);
    std::thread acceptor_;
};

// The body of a right answer, and of one with the flaw.
std::string embeddings_body(const FakeRequest& request, std::uint32_t dimensions, Flaw flaw, std::string_view salt = {});

}  // namespace homeostat::kit
