#include "controller/cli/text/activity.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>
#include <tuple>

#include "controller/cli/text/figures.hpp"
#include "store/inspect/listings.hpp"

namespace homeostat {

namespace {

using Json = nlohmann::json;

struct Line {
    std::chrono::milliseconds age{0};
    std::string replica;
    std::size_t place = 0;  // in the replica's list, newest last
    Json what;
};

// The lines of a list of all snapshots that `wanted` takes. What is no JSON, or of another version's making, is passed over.
std::vector<Line> newest(const std::vector<ReplicaLine>& replicas, const char* list,
                         const std::function<bool(const Json&)>& wanted) {
    std::vector<Line> out;
    for (const ReplicaLine& r : replicas) {
        const Json snapshot = Json::parse(r.snapshot.empty() ? "{}" : r.snapshot, nullptr, false);
        if (!snapshot.is_object() || !snapshot.contains(list) || !snapshot[list].is_array()) continue;
        const auto at = snapshot.value("at", std::int64_t{0});
        std::size_t place = 0;
        for (const Json& what : snapshot[list]) {
            ++place;
            if (!what.is_object() || !wanted(what)) continue;
            const std::chrono::milliseconds before(std::max<std::int64_t>(0, at - what.value("at", at)));
            out.push_back({before + r.silent_for, r.id, place, what});
        }
    }
    std::sort(out.begin(), out.end(), [](const Line& a, const Line& b) {
        return std::tie(a.age, a.replica, b.place) < std::tie(b.age, b.replica, a.place);
    });
    if (out.size() > kActivityShown) out.resize(kActivityShown);
    return out;
}

std::string age(const Line& line) { return age_text(WallTime{}, WallTime{} + line.age); }
std::string seconds(const Line& line) { return fmt::format("{:.3f} s", line.what.value("seconds", 0.0)); }
std::string count(const Line& line, const char* name) { return std::to_string(line.what.value(name, std::int64_t{0})); }

// What a replica tells of its lane to one model of a provider.
struct Use {
    std::string replica;
    Json lane;
};

std::vector<Use> uses_of(const std::vector<ReplicaLine>& replicas, const std::string& provider) {
    std::vector<Use> out;
    for (const ReplicaLine& r : replicas) {
        const Json snapshot = Json::parse(r.snapshot.empty() ? "{}" : r.snapshot, nullptr, false);
        if (!snapshot.is_object() || !snapshot.contains("providers") || !snapshot["providers"].is_array()) continue;
        for (const Json& lane : snapshot["providers"]) {
            const bool told = lane.is_object() && lane.contains("breakerCalls");  // an older version tells nothing of it
            if (told && lane.value("provider", "") == provider) out.push_back({r.id, lane});
        }
    }
    return out;
}

std::int64_t number(const Json& lane, const char* member, const char* name) {
    const auto it = lane.find(member);
    if (it == lane.end() || !it->is_object()) return 0;
    const auto n = it->find(name);
    return n != it->end() && n->is_number() ? n->get<std::int64_t>() : 0;
}

std::string share_text(std::int64_t part, std::int64_t whole) {
    if (whole == 0) return "-";
    return fmt::format("{} %", std::lround(100.0 * static_cast<double>(part) / static_cast<double>(whole)));
}

Cell outcome(const Line& line, std::string_view good) {
    const std::string text = line.what.value("outcome", "");
    return {text, text == good ? Tint::good : Tint::warning};
}

}  // namespace

TextTable uses_table(const std::vector<ReplicaLine>& replicas, const std::string& provider) {
    TextTable table(
        {"REPLICA", "MODEL", "BREAKER", "SUCCEEDED", "FAILED", "REJECTED", "OPENED", "CACHED", "TEXTS SAVED", "TOKENS SAVED"});
    for (const Use& u : uses_of(replicas, provider)) {
        const auto said = [&](const char* member, const char* name) { return count_text(number(u.lane, member, name)); };
        const std::int64_t texts = number(u.lane, "cache", "texts");
        const std::string breaker = u.lane.value("breaker", "");
        table.add({u.replica, u.lane.value("model", ""), Cell(breaker, breaker == "closed" ? Tint::good : Tint::warning),
                   said("breakerCalls", "succeeded"), said("breakerCalls", "failed"), said("breakerCalls", "rejected"),
                   said("breakerCalls", "opened"), share_text(number(u.lane, "cache", "found"), texts), said("cache", "found"),
                   said("cache", "savedTokens")});
    }
    return table;
}

std::string saved_text(const std::vector<ReplicaLine>& replicas, const std::string& provider, double price) {
    std::int64_t texts = 0;
    std::int64_t found = 0;
    std::int64_t tokens = 0;
    for (const Use& u : uses_of(replicas, provider)) {
        texts += number(u.lane, "cache", "texts");
        found += number(u.lane, "cache", "found");
        tokens += number(u.lane, "cache", "savedTokens");
    }
    if (texts == 0) return {};
    std::string out = fmt::format("Caches had {} of {} ({}), which saved {} tokens", count_text(found), counted(texts, "text"),
                                  share_text(found, texts), count_text(tokens));
    if (price > 0) out += fmt::format(" ({:.4g} at the provider's price)", static_cast<double>(tokens) * price / 1e6);
    return out + ", since the replicas started";
}

TextTable calls_table(const std::vector<ReplicaLine>& replicas, const std::string& provider) {
    TextTable table({"AGE", "REPLICA", "MODEL", "TEXTS", "TOOK", "OUTCOME"});
    for (const Line& l : newest(replicas, "calls", [&](const Json& c) { return c.value("provider", "") == provider; })) {
        table.add({age(l), l.replica, l.what.value("model", ""), count(l, "texts"), seconds(l), outcome(l, "ok")});
    }
    return table;
}

TextTable selections_table(const std::vector<ReplicaLine>& replicas, const std::string& provider) {
    TextTable table({"AGE", "REPLICA", "MODEL", "CHOSEN", "INSTEAD OF"});
    const auto wanted = [&](const Json& s) { return s.value("chosen", "") == provider || s.value("insteadOf", "") == provider; };
    for (const Line& l : newest(replicas, "selections", wanted)) {
        table.add({age(l), l.replica, l.what.value("model", ""), l.what.value("chosen", ""), l.what.value("insteadOf", "")});
    }
    return table;
}

TextTable batches_table(const std::vector<ReplicaLine>& replicas, std::int64_t uid) {
    TextTable table({"AGE", "REPLICA", "BATCH", "DOCUMENTS", "TOOK", "OUTCOME"});
    for (const Line& l :
         newest(replicas, "batches", [&](const Json& b) { return b.value("pipeline", std::int64_t{-1}) == uid; })) {
        table.add({age(l), l.replica, count(l, "batch"), count(l, "documents"), seconds(l), outcome(l, "done")});
    }
    return table;
}

void say_where_nobody_works(CliContext& context, Session& session) {
    const auto rows = read_listing(session, ListingKind::replica, {}, 1'000);
    if (!rows) return;
    const auto columns = listing_columns(ListingKind::replica);
    const auto state = static_cast<std::size_t>(
        std::find_if(columns.begin(), columns.end(), [](const ListingColumn& c) { return c.name == "state"; }) - columns.begin());
    const bool any = std::any_of(rows->begin(), rows->end(), [&](const ListingRow& r) { return r[state] == "alive"; });
    if (!any) context.streams.err << "homeostat: no controller runs, which would do it; start one with homeostat run\n";
}

}  // namespace homeostat
