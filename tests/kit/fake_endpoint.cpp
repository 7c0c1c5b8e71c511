#include "tests/kit/fake_endpoint.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <pthread.h>
#include <simdjson.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <stdexcept>

namespace homeostat::kit {

namespace {

namespace od = simdjson::ondemand;

// OpenSSL writes to sockets without MSG_NOSIGNAL; new threads inherit the mask of the one that makes them.
void block_sigpipe() {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

int listen_on(std::uint16_t port, std::uint16_t& bound) {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int on = 1;
    ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* const any = reinterpret_cast<sockaddr*>(&address);
    if (::bind(fd, any, size) != 0 || ::listen(fd, 256) != 0 || ::getsockname(fd, any, &size) != 0) {
        throw std::runtime_error(fmt::format("the fake endpoint cannot listen on port {}", port));
    }
    bound = ntohs(address.sin_port);
    return fd;
}

// False where the body is not a request for embeddings.
bool parse_request(FakeRequest& request) {
    od::parser parser;
    const simdjson::padded_string text(request.http.body);
    od::document document;
    od::object object;
    if (parser.iterate(text).get(document) != simdjson::SUCCESS || document.get_object().get(object) != simdjson::SUCCESS)
        return false;
    for (auto field : object) {
        std::string_view key;
        od::value value;
        std::string_view word;
        std::uint64_t number = 0;
        od::array items;
        if (field.unescaped_key().get(key) != simdjson::SUCCESS || field.value().get(value) != simdjson::SUCCESS) return false;
        if (key == "model" && value.get_string().get(word) == simdjson::SUCCESS) request.model = std::string(word);
        if (key == "encoding_format" && value.get_string().get(word) == simdjson::SUCCESS) request.encoding = std::string(word);
        if (key == "dimensions" && value.get_uint64().get(number) == simdjson::SUCCESS) {
            request.dimensions = static_cast<std::uint32_t>(number);
        }
        if (key != "input") continue;
        if (value.get_array().get(items) != simdjson::SUCCESS) return false;
        for (auto item : items) {
            if (item.get_string().get(word) != simdjson::SUCCESS) return false;
            request.texts.emplace_back(word);
        }
    }
    return !request.texts.empty() && !request.model.empty();
}

std::string head_of(const FakeAnswer& answer, std::string_view type, std::string_view framing) {
    std::string head = fmt::format("HTTP/1.1 {} Scripted\r\nContent-Type: {}\r\n{}\r\n", answer.status, type, framing);
    for (const auto& [name, value] : answer.headers) head += fmt::format("{}: {}\r\n", name, value);
    return head + "\r\n";
}

std::string chunked(std::string_view body) {
    std::string out;
    while (!body.empty()) {
        const auto part = body.substr(0, 4000);
        out += fmt::format("{:x}\r\n{}\r\n", part.size(), part);
        body.remove_prefix(part.size());
    }
    return out + "0\r\n\r\n";
}

std::string with_vectors(std::string wire, const std::string& body) {
    for (const auto& [mark, text] :
         {std::pair<std::string_view, std::string>{"{size}", std::to_string(body.size())}, {"{vectors}", body}}) {
        if (const auto at = wire.find(mark); at != std::string::npos) wire.replace(at, mark.size(), text);
    }
    return wire;
}

std::string error_body(int status) {
    return fmt::format(R"({{"error":{{"message":"scripted failure {}","type":"scripted","param":null,"code":null}}}})", status);
}

}  // namespace

FakeEndpoint::FakeEndpoint(FakeEndpointOptions options) : options_(std::move(options)) {
    if (options_.tls) ca_ = std::make_unique<TestCa>(options_.names);
    if (options_.tls && options_.knows_clients) ca_->ask_for_clients();
    always_.delay = options_.delay;
    bucket_ = options_.burst;
    filled_ = std::chrono::steady_clock::now();
    listener_ = listen_on(options_.port, port_);
    acceptor_ = std::thread([this] { accept_loop(); });
}

FakeEndpoint::~FakeEndpoint() {
    stop_.request_stop();
    ::shutdown(listener_, SHUT_RDWR);
    acceptor_.join();
    ::close(listener_);
    drop_connections();
    std::list<Session> sessions;
    {
        const Lock lock(mutex_);
        sessions.swap(sessions_);
    }
    for (auto& session : sessions) session.thread.join();
}

std::string FakeEndpoint::url() const { return fmt::format("{}://127.0.0.1:{}/v1", options_.tls ? "https" : "http", port_); }

void FakeEndpoint::next(FakeAnswer answer, std::size_t times) {
    const Lock lock(mutex_);
    script_.insert(script_.end(), times, answer);
}

void FakeEndpoint::when_text(std::string part, FakeAnswer answer) {
    const Lock lock(mutex_);
    by_text_.emplace_back(std::move(part), std::move(answer));
}

void FakeEndpoint::always(FakeAnswer answer) {
    const Lock lock(mutex_);
    always_ = std::move(answer);
}

void FakeEndpoint::forget_script() {
    const Lock lock(mutex_);
    script_.clear();
    by_text_.clear();
    always_ = FakeAnswer{.delay = options_.delay};
}

void FakeEndpoint::withhold() {
    const Lock lock(mutex_);
    withheld_ = true;
}

void FakeEndpoint::become(std::string salt) {
    const Lock lock(mutex_);
    salt_ = std::move(salt);
}

std::string FakeEndpoint::salt() {
    const Lock lock(mutex_);
    return salt_.value_or(options_.salt);
}

void FakeEndpoint::release() {
    const Lock lock(mutex_);
    withheld_ = false;
    changed_.notify_all();
}

void FakeEndpoint::drop_connections() {
    const Lock lock(mutex_);
    for (auto& session : sessions_) session.wire.interrupt();
}

std::vector<FakeRequest> FakeEndpoint::requests() const {
    const Lock lock(mutex_);
    return {requests_.begin(), requests_.end()};
}

bool FakeEndpoint::wait_for_requests(std::uint64_t n) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    const Lock lock(mutex_);
    while (arrived_ < n) {
        if (!changed_.wait_until(mutex_, stop_.get_token(), deadline)) return false;
        if (std::chrono::steady_clock::now() >= deadline) return arrived_ >= n;
    }
    return true;
}

void FakeEndpoint::accept_loop() {
    block_sigpipe();
    while (!stop_.stop_requested()) {
        const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
        if (fd < 0) continue;
        ++accepted_;
        const Lock lock(mutex_);
        reap();
        Session& session = sessions_.emplace_back(fd, ca_ ? ca_->server() : nullptr);
        session.thread = std::thread([this, &session] { serve(session); });
    }
}

void FakeEndpoint::reap() {
    for (auto it = sessions_.begin(); it != sessions_.end();) {
        if (!it->over) {
            ++it;
            continue;
        }
        it->thread.join();
        it = sessions_.erase(it);
    }
}

void FakeEndpoint::serve(Session& session) {
    while (auto request = session.wire.read_request()) {
        const bool keep = request->keep_alive;
        if (!handle(session.wire, *std::move(request)) || !keep) break;
    }
    // The descriptor itself is closed when the session is reaped; the peer sees the end now.
    session.wire.interrupt();
    session.over = true;
}

bool FakeEndpoint::handle(Wire& wire, WireRequest http) {
    FakeRequest request;
    request.http = std::move(http);
    const std::string& path = request.http.path;
    if (path == "/stats") {
        const std::string body =
            fmt::format("{{\"calls\":{},\"texts\":{},\"connections\":{}}}\n", calls(), texts(), connections());
        return wire.write(head_of({}, "application/json", fmt::format("Content-Length: {}", body.size())) + body);
    }
    const bool understood =
        request.http.method == "POST" && path.find("/embeddings") != std::string::npos && parse_request(request);
    FakeAnswer answer = take_answer(request);
    if (!understood && answer.status == 200) answer.status = request.http.method == "POST" ? 400 : 404;
    const auto delay = answer.delay + options_.delay_a_text * static_cast<std::int64_t>(request.texts.size());
    if (delay.count() > 0 && !wait(delay)) return false;
    if (!wait_for_release()) return false;
    if (answer.flaw == Flaw::drop_before) {
        wire.reset();
        return false;
    }
    ++calls_;
    if (answer.status == 200) texts_ += request.texts.size();
    if (answer.flaw == Flaw::drop_after) return false;
    return send(wire, request, answer);
}

std::optional<FakeAnswer> FakeEndpoint::over_limit(const FakeRequest& request) const {
    std::uint64_t tokens = 0;
    std::uint64_t longest = 0;
    for (const auto& text : request.texts) {
        tokens += tokens_of(text);
        longest = std::max(longest, tokens_of(text));
    }
    std::string says;
    const auto worded = [](const std::string& words, std::uint64_t limit, std::uint64_t got) {
        return fmt::format(fmt::runtime(words), fmt::arg("limit", limit), fmt::arg("got", got));
    };
    if (options_.max_text_tokens > 0 && longest > options_.max_text_tokens) {
        says = worded(options_.text_says, options_.max_text_tokens, longest);
    } else if (!options_.limit_says.empty() && options_.max_texts > 0 && request.texts.size() > options_.max_texts) {
        says = worded(options_.limit_says, options_.max_texts, request.texts.size());
    } else if (!options_.limit_says.empty() && options_.max_tokens > 0 && tokens > options_.max_tokens) {
        says = worded(options_.limit_says, options_.max_tokens, tokens);
    } else if (options_.max_bytes > 0 && request.http.body.size() > options_.max_bytes) {
        says = worded(options_.limit_says, options_.max_bytes, request.http.body.size());
    } else if (options_.max_texts > 0 && request.texts.size() > options_.max_texts) {
        says =
            options_.says_limits ? fmt::format("too many inputs: at most {} a request", options_.max_texts) : "too many inputs";
    } else if (options_.max_tokens > 0 && tokens > options_.max_tokens) {
        says = options_.says_limits ? fmt::format("maximum request size is {} tokens", options_.max_tokens) : "too many tokens";
    } else {
        return std::nullopt;
    }
    FakeAnswer refusal;
    refusal.status = options_.limit_status;
    refusal.body = fmt::format(R"({{"error":{{"message":"{}","type":"invalid_request_error"}}}})", says);
    return refusal;
}

bool FakeEndpoint::over_rate() {
    if (options_.requests_a_second <= 0) return false;
    const auto now = std::chrono::steady_clock::now();
    const double since = std::chrono::duration<double>(now - std::exchange(filled_, now)).count();
    bucket_ = std::min(options_.burst, bucket_ + since * options_.requests_a_second);
    if (bucket_ < 1) return true;
    bucket_ -= 1;
    return false;
}

FakeAnswer FakeEndpoint::take_answer(const FakeRequest& request) {
    const Lock lock(mutex_);
    ++arrived_;
    if (options_.keep_requests > 0) {
        if (requests_.size() == options_.keep_requests) requests_.pop_front();
        requests_.push_back(request);
    }
    changed_.notify_all();
    if (over_rate()) {
        ++refused_;
        FakeAnswer refusal{.status = 429};
        if (!options_.retry_after.empty()) refusal.headers.emplace_back("Retry-After", options_.retry_after);
        return refusal;
    }
    if (auto refusal = over_limit(request)) {
        ++over_limits_;
        return *std::move(refusal);
    }
    if (options_.mixes_above > 0 && request.texts.size() > options_.mixes_above) return {.flaw = options_.mixes};
    if (!script_.empty()) {
        FakeAnswer answer = std::move(script_.front());
        script_.pop_front();
        return answer;
    }
    for (const auto& [part, answer] : by_text_) {
        for (const auto& text : request.texts) {
            if (text.find(part) != std::string::npos) return answer;
        }
    }
    return always_;
}

bool FakeEndpoint::wait(std::chrono::milliseconds delay) {
    const auto deadline = std::chrono::steady_clock::now() + delay;
    const Lock lock(mutex_);
    while (std::chrono::steady_clock::now() < deadline) {
        if (!changed_.wait_until(mutex_, stop_.get_token(), deadline)) return false;
    }
    return true;
}

bool FakeEndpoint::wait_for_release() {
    const Lock lock(mutex_);
    while (withheld_) {
        if (!changed_.wait(mutex_, stop_.get_token())) return false;
    }
    return true;
}

bool FakeEndpoint::send(Wire& wire, const FakeRequest& request, const FakeAnswer& answer) {
    const std::uint32_t dimensions = request.dimensions != 0 ? request.dimensions : options_.dimensions;
    std::string_view type = "application/json";
    std::string body = answer.body;
    if (!answer.wire.empty()) {
        body = embeddings_body(request, dimensions, answer.flaw, salt());
        return write(wire, with_vectors(answer.wire, body), answer.drip) && !answer.hangs_up;
    }
    if (answer.flaw == Flaw::not_http) return wire.write("SSH-2.0-OpenSSH_9.2p1\r\n") && false;
    if (answer.flaw == Flaw::html) {
        type = "text/html";
        body = "<!doctype html><title>Sign in</title>";
    } else if (answer.flaw == Flaw::garbage) {
        body = "\x01\xff{{{ no json";
    } else if (body.empty()) {
        body = answer.status == 200 ? embeddings_body(request, dimensions, answer.flaw, salt()) : error_body(answer.status);
    }
    if (answer.flaw == Flaw::early_hints &&
        !wire.write("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"))
        return false;
    if (answer.flaw == Flaw::chunked) return wire.write(head_of(answer, type, "Transfer-Encoding: chunked") + chunked(body));
    std::string message = head_of(answer, type, fmt::format("Content-Length: {}", body.size()));
    if (answer.flaw == Flaw::truncated) return wire.write(message + body.substr(0, body.size() / 2)) && false;
    message += body;
    return write(wire, message, answer.drip) && !answer.hangs_up;
}

bool FakeEndpoint::write(Wire& wire, std::string_view message, std::chrono::milliseconds drip) {
    if (drip.count() == 0) return wire.write(message);
    constexpr std::size_t kParts = 20;
    const std::size_t size = message.size() / kParts + 1;
    while (!message.empty()) {
        if (!wire.write(message.substr(0, size)) || !wait(drip)) return false;
        message.remove_prefix(std::min(size, message.size()));
    }
    return true;
}

}  // namespace homeostat::kit
