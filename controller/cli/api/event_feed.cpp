#include "controller/cli/api/event_feed.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "controller/cli/api/shapes.hpp"
#include "controller/cli/api/urgency.hpp"

namespace homeostat {

namespace {

constexpr std::int64_t kOverlap = 200;  // numbers that may commit after a greater one was seen
constexpr std::chrono::seconds kLiveAge{120};
constexpr std::chrono::seconds kReplayAge{24 * 3600};
constexpr int kMostEvents = 500;
constexpr std::chrono::milliseconds kBetween{1'000};

std::string message_text(const char* kind, const ApiJson& data) {
    return fmt::format("event: {}\ndata: {}\n\n", kind, data.dump(-1, ' ', false, ApiJson::error_handler_t::replace));
}

}  // namespace

std::string event_text(const TailEvent& e) {
    ApiJson data{{"name", std::to_string(e.id)}, {"object", e.object},  {"at", stamp_text(e.at)}, {"type", e.type},
                 {"reason", e.reason},           {"message", e.message}};
    if (!e.reconcile_id.empty()) data["reconcileId"] = e.reconcile_id;
    return fmt::format("id: {}\n", e.id) + message_text("event", data);
}

Result<EventFeed::Known> EventFeed::read_known(Session& session) {
    const auto numbers = event_numbers(session);
    if (!numbers) return numbers.error();
    Known known;
    known.newest = *numbers ? (*numbers)->first : 0;
    const auto events = read_event_tail(session, known.newest - kOverlap, kLiveAge, static_cast<int>(2 * kOverlap));
    if (!events) return events.error();
    for (const TailEvent& e : *events) known.sent.insert(e.id);
    const auto lines = list_pipeline_lines(session);
    if (!lines) return lines.error();
    for (const PipelineLine& line : *lines) known.lines.emplace(line.name, message_text("pipeline", line_json(line)));
    return known;
}

Result<std::shared_ptr<HttpStream>> EventFeed::listen(Session& session, std::optional<std::int64_t> last) {
    Result<Known> known = read_known(session);
    if (!known) return known.error();
    const auto stream = std::make_shared<HttpStream>();
    stream->send(": listening\n\n");
    {
        // Before what went by is read, so that nothing falls between that and what the thread sends.
        const Lock lock(mutex_);
        if (!known_ && listeners_.empty()) known_ = *std::move(known);
        listeners_.push_back(stream);
        changed_.notify_all();
    }
    if (!last) return stream;
    const auto numbers = event_numbers(session);
    const bool kept = numbers && *numbers && *last <= (*numbers)->first && *last >= (*numbers)->second - 1;
    const auto events = kept ? read_event_tail(session, *last, kReplayAge, kMostEvents)
                             : Result<std::vector<TailEvent>>(std::vector<TailEvent>{});
    if (!numbers || !events) {
        stream->close();
        return numbers ? events.error() : numbers.error();
    }
    if (!kept || events->size() >= kMostEvents) {
        stream->send(message_text("reset", {{"detail", "events have gone by that are not sent again; read everything anew"}}));
        return stream;
    }
    for (const TailEvent& e : *events) stream->send(event_text(e));
    return stream;
}

void EventFeed::send(const std::string& text) {
    const Lock lock(mutex_);
    for (const auto& listener : listeners_) listener->send(text);
}

Status EventFeed::send_events(Session& session, Known& known) {
    const auto events = read_event_tail(session, known.newest - kOverlap, kLiveAge, kMostEvents);
    if (!events) return events.error();
    for (const TailEvent& e : *events) {
        known.newest = std::max(known.newest, e.id);
        if (known.sent.insert(e.id).second) send(event_text(e));
    }
    known.sent.erase(known.sent.begin(), known.sent.lower_bound(known.newest - kOverlap));
    return {};
}

Status EventFeed::send_lines(Session& session, Known& known) {
    const auto lines = list_pipeline_lines(session);
    if (!lines) return lines.error();
    std::map<std::string, std::string> now;
    for (const PipelineLine& line : *lines) {
        std::string text = message_text("pipeline", line_json(line));
        const auto before = known.lines.find(line.name);
        if (before == known.lines.end() || before->second != text) send(text);
        now.emplace(line.name, std::move(text));
    }
    for (const auto& [name, text] : known.lines) {
        if (!now.contains(name)) send(message_text("gone", {{"name", name}}));
    }
    known.lines = std::move(now);
    return {};
}

Status EventFeed::look(const std::stop_token& stop) {
    Context context;
    context.stop = stop;
    Result<Pool::Lease> session = reads_.acquire(context);
    if (!session) return session.error();
    Known known;
    {
        const Lock lock(mutex_);
        if (!known_) return {};
        known = *known_;
    }
    Status good = send_events(**session, known);
    if (good) good = send_lines(**session, known);
    const Lock lock(mutex_);
    known_ = std::move(known);
    return good;
}

void EventFeed::watch(const std::stop_token& stop) {
    while (!stop.stop_requested()) {
        {
            const Lock lock(mutex_);
            std::erase_if(listeners_, [](const auto& l) { return l->closed(); });
            if (listeners_.empty()) {
                known_.reset();
                changed_.wait_until(mutex_, stop, std::chrono::steady_clock::now() + std::chrono::seconds(3600));
                continue;
            }
        }
        const auto began = std::chrono::steady_clock::now();
        const Status looked = look(stop);
        if (!looked && !failing_ && !stop.stop_requested()) send(message_text("trouble", {{"detail", looked.error().message}}));
        failing_ = !looked;
        // A look that takes long is a small share of the time all the same.
        const auto took = std::chrono::steady_clock::now() - began;
        const auto until = std::chrono::steady_clock::now() + std::max<std::chrono::steady_clock::duration>(kBetween, 4 * took);
        const Lock lock(mutex_);
        while (!stop.stop_requested() && std::chrono::steady_clock::now() < until) changed_.wait_until(mutex_, stop, until);
    }
    const Lock lock(mutex_);
    for (const auto& listener : listeners_) listener->close();
}

}  // namespace homeostat
