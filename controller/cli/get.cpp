// `homeostat get`: what is declared, and what the controller writes about it, as tables, objects, names, or fields of them.
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <map>

#include "controller/cli/text/field_path.hpp"
#include "controller/cli/text/interruption.hpp"
#include "controller/cli/text/listing.hpp"
#include "controller/cli/text/listing_print.hpp"
#include "controller/cli/verbs.hpp"
#include "controller/config/config_values.hpp"

namespace homeostat {

namespace {

using std::chrono::milliseconds;

struct Options {
    std::vector<std::string> words;
    std::string output = "table";
    std::string sort_by;
    std::string selector;
    bool no_headers = false;
    bool show_labels = false;
    bool watch = false;
    int limit = 500;
    std::string interval;
    std::string timeout;
};

struct Request {
    AnyKind kind = ResourceKind::pipeline;
    std::vector<std::string> names;
};

struct Requests {
    std::vector<Request> all;
    std::string guessed;  // the word that is the name of a pipeline because it is nothing else
};

constexpr std::array<ResourceKind, 3> kDeclared{ResourceKind::provider, ResourceKind::pipeline, ResourceKind::target_view};

// KIND[,KIND...], or `all`, which is what is declared.
std::optional<std::vector<AnyKind>> kinds_of(std::string_view word) {
    if (word == "all") return std::vector<AnyKind>(kDeclared.begin(), kDeclared.end());
    std::vector<AnyKind> kinds;
    for (std::size_t at = 0; at <= word.size();) {
        const std::size_t end = std::min(word.size(), word.find(',', at));
        const std::optional<AnyKind> kind = find_kind(word.substr(at, end - at));
        if (!kind) return std::nullopt;
        kinds.push_back(*kind);
        at = end + 1;
    }
    return kinds;
}

std::optional<Request> slashed(std::string_view word) {
    const std::size_t slash = word.find('/');
    if (slash == std::string_view::npos) return std::nullopt;
    const std::optional<AnyKind> kind = find_kind(word.substr(0, slash));
    if (!kind) return std::nullopt;
    return Request{*kind, {std::string(word.substr(slash + 1))}};
}

Result<Requests> read_requests(const std::vector<std::string>& words) {
    Requests out;
    if (words.empty()) {
        out.all.push_back({});
        return out;
    }
    std::span<const std::string> names(words);
    Request plain{};
    if (const auto kinds = kinds_of(words.front())) {
        if (kinds->size() > 1 && words.size() > 1)
            return invalid("names go with one kind; write homeostat get pipeline/NAME provider/NAME");
        if (words.size() == 1) {
            for (const AnyKind& kind : *kinds) out.all.push_back({kind, {}});
            return out;
        }
        plain.kind = kinds->front();
        names = names.subspan(1);
    } else if (words.front().find(',') != std::string::npos) {
        const std::string_view list = words.front();
        for (std::size_t at = 0; at < list.size(); at = std::min(list.size(), list.find(',', at)) + 1) {
            const std::string_view word = list.substr(at, std::min(list.size(), list.find(',', at)) - at);
            if (!find_kind(word)) return unknown_kind(word);
        }
    } else if (!slashed(words.front())) {
        out.guessed = words.front();
    }
    for (const std::string& name : names) {
        Request one = slashed(name).value_or(Request{plain.kind, {name}});
        if (one.names.front().empty()) return invalid(fmt::format("\"{}\": a name is missing", name));
        if (out.all.empty() || out.all.back().kind != one.kind) {
            out.all.push_back(std::move(one));
        } else {
            out.all.back().names.push_back(std::move(one.names.front()));
        }
    }
    return out;
}

// What is neither a kind nor a pipeline may be meant as either.
Error neither(const std::string& word, const Error& error, Session& session) {
    if (word.empty() || error.cls != ErrorClass::not_found) return error;
    std::vector<std::string> known{"all"};
    std::string kinds = "all";
    for (const std::string_view kind : kind_words(false)) {
        known.emplace_back(kind);
        kinds += fmt::format(", {}", kind);
    }
    if (const auto pipelines = list_pipelines(session)) {
        for (const PipelineSpec& p : *pipelines) known.push_back(p.name);
    }
    if (std::find(known.begin(), known.end(), word) != known.end()) return error;  // it was another name that is wrong
    const std::vector<std::string_view> views(known.begin(), known.end());
    return not_found(fmt::format("\"{}\" is neither a kind of object nor a pipeline{}; the kinds are {}", word,
                                 did_you_mean(word, views), kinds));
}

Result<std::vector<Listing>> list_all(Session& session, const Requests& requests, const Options& o, const GetForm& form) {
    std::vector<Listing> out;
    for (const Request& request : requests.all) {
        const bool declared = std::holds_alternative<ResourceKind>(request.kind);
        if (!declared && !o.selector.empty()) {
            return invalid(
                "-l is for what has labels: pipelines, providers and targetviews; name a pipeline instead, as in "
                "homeostat get events NAME");
        }
        Result<Listing> listing = list_objects(session, request.kind,
                                               {.names = request.names,
                                                .wide = form.kind == GetForm::Kind::wide,
                                                .cells = form.is_table(),
                                                .nodes = form.wants_nodes() || !o.sort_by.empty(),
                                                .limit = o.limit});
        if (!listing) return neither(requests.guessed, listing.error(), session);
        if (!o.selector.empty()) {
            Result<std::vector<Listed>> rows = select_labels(std::move(listing->rows), o.selector);
            if (!rows) return rows.error();
            listing->rows = *std::move(rows);
            listing->nothing = fmt::format("nothing has labels that match {}", o.selector);
        }
        if (o.show_labels && declared && form.is_table()) add_labels(*listing);
        if (!o.sort_by.empty()) {
            if (auto sorted = sort_listing(*listing, o.sort_by); !sorted) return sorted.error();
        }
        out.push_back(*std::move(listing));
    }
    return out;
}

// A row as it is but for what time alone changes.
std::string face_of(const Listing& listing, const Listed& row) {
    std::string out;
    for (std::size_t i = 0; i < row.cells.size(); ++i) {
        if (!listing.ages.contains(i)) out += row.cells[i].text + '\x1f';
    }
    return out;
}

// The whole table first, then each row that is new or different.
int watch(CliContext& context, Session& session, const Requests& requests, const Options& o, const GetForm& form,
          milliseconds interval, std::optional<milliseconds> timeout) {
    const Interruption interruption;
    const SystemClock clock;
    const SteadyTime started = clock.steady_now();
    std::map<std::string, std::string> seen;
    bool first = true;
    for (;;) {
        Result<std::vector<Listing>> listings = list_all(session, requests, o, form);
        if (!listings) return context.fail(listings.error());
        for (Listing& listing : *listings) {
            std::erase_if(listing.rows, [&](const Listed& row) {
                std::string now = face_of(listing, row);
                // An event never changes, and several of an object may be alike in all but what they say.
                const std::string which = row.kind == "event" ? now : row.cells.size() > 1 ? row.cells[1].text : "";
                std::string& last = seen[row.kind + '/' + row.name + '\x1f' + which];
                const bool same = !first && last == now;
                last = std::move(now);
                return same;
            });
        }
        const PrintWish wish{.headers = first && !o.no_headers, .say_nothing = first};
        if (const Status printed = print_listings(context.streams, *listings, form, wish); !printed)
            return context.fail(printed.error());
        context.streams.out << std::flush;
        first = false;
        if (timeout && clock.steady_now() - started >= *timeout) return kExitOk;
        if (!interruption.pause(interval)) return kExitOk;
    }
}

int run(CliContext& context, const Options& o) {
    const Result<GetForm> form = read_get_form(o.output);
    if (!form) return context.fail(form.error());
    const Result<Requests> requests = read_requests(o.words);
    if (!requests) return context.fail(requests.error());
    if (o.limit < 1) return context.fail(invalid("--limit is a number from 1"));
    if (o.watch && !form->is_table()) return context.fail(invalid("-w shows tables; leave -o away, or write -o wide"));
    const std::optional<milliseconds> interval = o.interval.empty() ? milliseconds(2'000) : parse_duration(o.interval);
    if (!interval || interval->count() < 10)
        return context.fail(
            invalid(fmt::format("--interval {} is not a duration of at least 10ms; write 500ms or 2s", o.interval)));
    std::optional<milliseconds> timeout;
    if (!o.timeout.empty()) {
        timeout = parse_duration(o.timeout);
        if (!timeout) return context.fail(invalid(fmt::format("--timeout {} is not a duration; write 30s or 10m", o.timeout)));
    }
    auto session = context.session();
    if (!session) return context.fail(session.error());
    if (o.watch) return watch(context, **session, *requests, o, *form, *interval, timeout);
    const Result<std::vector<Listing>> listings = list_all(**session, *requests, o, *form);
    if (!listings) return context.fail(listings.error());
    const bool single = requests->all.size() == 1 && requests->all.front().names.size() == 1;
    const Status printed = print_listings(context.streams, *listings, *form, {.headers = !o.no_headers, .single = single});
    return printed ? kExitOk : context.fail(printed.error());
}

}  // namespace

VerbBody configure_get(Command& command, CliContext& context) {
    auto o = std::make_shared<Options>();
    command.option(
        {.names = "what",
         .value = "WHAT",
         .help =
             "KIND, KIND NAME..., KIND/NAME... or NAME... of pipelines; kinds: pipelines (the default), providers, targetviews, "
             "events, runs, replicas, batches, revisions, leases, deadletters, checkpoints, several with commas, or all that is "
             "declared"},
        o->words);
    command.option(
        {.names = "-o,--output",
         .value = "FORM",
         .help =
             "table, wide, json, yaml, name, jsonpath=TEMPLATE or custom-columns=HEADER:PATH,...; json and yaml can be applied "
             "again"},
        o->output);
    command.option(
        {.names = "-l,--selector", .value = "LABELS", .help = "Only what has these labels, as in team=search,stage!=test"},
        o->selector);
    command.option(
        {.names = "--sort-by", .value = "PATH", .help = "In the order of this field, as in .status.documents, or of a column"},
        o->sort_by);
    command.flag("--no-headers", o->no_headers, "Tables without their first line");
    command.flag("--show-labels", o->show_labels, "A column more, with the labels");
    command.option({.names = "--limit", .value = "N", .help = "Of events, runs and their like, so many at most, the newest"},
                   o->limit);
    command.flag("-w,--watch", o->watch, "Go on and print each row that is new or different, until Ctrl-C");
    command.option({.names = "--interval", .value = "DURATION", .help = "With -w: how often to look, 2s if not said"},
                   o->interval);
    command.option({.names = "--timeout", .value = "DURATION", .help = "With -w: end after this long"}, o->timeout);
    command.footer(
        "Examples: homeostat get pipelines -o wide\n"
        "          homeostat get pipeline/docs -o jsonpath='{.status.conditions[?(@.type==\"Ready\")].message}'\n"
        "          homeostat get events docs -w");
    return [&context, o] { return run(context, *o); };
}

}  // namespace homeostat
