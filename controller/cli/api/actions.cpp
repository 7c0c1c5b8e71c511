#include "controller/cli/api/actions.hpp"

#include <fmt/core.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <vector>

#include "controller/config/config_values.hpp"
#include "core/outside_text.hpp"
#include "store/control/budgets.hpp"
#include "store/control/dead_letters.hpp"
#include "store/control/resources.hpp"
#include "store/control/rollbacks.hpp"
#include "store/control/statuses.hpp"

namespace homeostat {

namespace {

constexpr std::size_t kMostActor = 80;

constexpr ActionField kActor{"actor", "string", "Who asks, for the event; not verified"};
constexpr ActionField kReason{"reason", "string", "Why, for the next operator"};
constexpr std::array kReconcile{kActor, kReason};
constexpr std::array kSuspend{kActor, kReason, ActionField{"for", "string", "Resume by itself after this long, such as 2h"}};
constexpr std::array kResume{kActor, kReason};
constexpr std::array kApprove{kActor, kReason, ActionField{"plan", "string", "The plan that its condition names", true}};
constexpr std::array kRollback{kActor, kReason, ActionField{"checkpoint", "string", "As /api/v1/checkpoints lists them"},
                               ActionField{"run", "integer", "To what was before this run"},
                               ActionField{"dryRun", "boolean", "Say what would be done, and do nothing"}};
constexpr std::array kRetry{kActor, kReason, ActionField{"class", "string", "Only letters of this class of error"},
                            ActionField{"key", "array", "Only the letter of this document: its key's columns as texts"}};

// What was done, in words, and in figures for whoever asked.
struct Done {
    std::string sentence;
    ApiJson figures = ApiJson::object();
};

struct Asked {
    std::string pipeline;
    std::int64_t uid = 0;
    ApiJson body;

    std::string text(const char* name) const {
        const auto found = body.find(name);
        return found == body.end() ? std::string() : found->get<std::string>();
    }
    std::optional<std::string> maybe(const char* name) const {
        const std::string value = text(name);
        return value.empty() ? std::nullopt : std::optional(value);
    }
};

bool is_of(const ApiJson& value, std::string_view type) {
    if (type == "string") return value.is_string();
    if (type == "integer") return value.is_number_integer();
    if (type == "boolean") return value.is_boolean();
    return value.is_array() && std::all_of(value.begin(), value.end(), [](const ApiJson& v) { return v.is_string(); });
}

bool holds_nul(const ApiJson& value) {
    if (value.is_string()) return value.get_ref<const std::string&>().find('\0') != std::string::npos;
    return value.is_structured() && std::any_of(value.begin(), value.end(), holds_nul);
}

Result<ApiJson> read_body(ActionKind kind, const std::string& text) {
    ApiJson body = text.empty() ? ApiJson::object() : ApiJson::parse(text, nullptr, false);
    if (!body.is_object()) return invalid("the body is not a JSON object");
    const auto fields = action_fields(kind);
    std::vector<std::string_view> known;
    for (const ActionField& f : fields) known.push_back(f.name);
    for (const auto& [name, value] : body.items()) {
        const auto field = std::ranges::find_if(fields, [&](const ActionField& f) { return f.name == name; });
        if (field == fields.end())
            return invalid(fmt::format("\"{}\" is nothing that {} knows{}", name, to_string(kind), did_you_mean(name, known)));
        if (!is_of(value, field->type)) return invalid(fmt::format("{} must be of type {}", name, field->type));
        // What a script has left unset is not "nothing said": a rollback without a checkpoint goes elsewhere.
        const bool words = field->name == kActor.name || field->name == kReason.name;
        if (!words && value.is_string() && value.get_ref<const std::string&>().empty())
            return invalid(fmt::format("{} is empty; give a value, or leave it out", name));
        if (holds_nul(value)) return invalid(fmt::format("{} holds a NUL character, which no text of a database does", name));
    }
    for (const ActionField& f : fields) {
        if (f.required && !body.contains(std::string(f.name)))
            return invalid(fmt::format("{} is missing: {}", f.name, f.sentence));
    }
    return body;
}

Result<Done> reconcile(Session& session, const Asked& asked) {
    const Result<std::string> token = request_reconcile(session, asked.pipeline);
    if (!token) return token.error();
    return Done{"a pass is asked for", {{"request", *token}}};
}

Result<Done> suspend(Session& session, const Asked& asked) {
    std::optional<Millis> length;
    if (const auto text = asked.maybe("for")) {
        length = parse_duration(*text);
        if (!length || length->count() <= 0)
            return invalid(fmt::format("for is \"{}\", which is no duration; write 30m or 2h", *text));
    }
    const Status done = set_suspended(session, asked.pipeline, true, asked.maybe("reason"), length);
    if (!done) return done.error();
    return Done{length ? "suspended for " + asked.text("for") : "suspended until it is resumed"};
}

Result<Done> resume(Session& session, const Asked& asked) {
    const Status done = set_suspended(session, asked.pipeline, false, std::nullopt, std::nullopt);
    if (!done) return done.error();
    return Done{"resumed"};
}

// It waits because of what it would cost, because of what would go, or both.
Result<Done> approve(Session& session, const Asked& asked) {
    const std::string plan = asked.text("plan");
    const Done approved{"plan " + plan + " is approved", {{"plan", plan}}};
    const Result<bool> paid = approve_budget(session, ResourceKind::pipeline, asked.pipeline, plan);
    if (paid && *paid) return approved;
    if (!paid && paid.error().cls != ErrorClass::invalid) return paid.error();
    const Status pruned = approve_prune(session, asked.pipeline, plan);
    if (pruned) return approved;
    return paid ? pruned.error() : paid.error();
}

Result<Done> roll_back(Session& session, const Asked& asked) {
    RollbackWish wish{.pipeline = asked.pipeline,
                      .checkpoint = asked.maybe("checkpoint"),
                      .run = {},
                      .dry_run = false,
                      .reason = asked.text("reason")};
    if (asked.body.contains("run")) wish.run = asked.body["run"].get<std::int64_t>();
    if (wish.run && wish.checkpoint) return invalid("checkpoint and run exclude each other");
    wish.dry_run = asked.body.value("dryRun", false);
    const Result<std::int64_t> id = request_rollback(session, wish);
    if (!id) return id.error();
    return Done{wish.dry_run ? "a rollback is tried without doing it" : "a rollback is asked for, and the pipeline is pinned",
                {{"rollback", *id}}};
}

Result<Done> retry(Session& session, const Asked& asked) {
    DeadLetterFilter filter;
    filter.pipeline = asked.pipeline;
    filter.cls = asked.maybe("class");
    if (filter.cls && to_string(error_class_named(*filter.cls)) != *filter.cls)
        return invalid(fmt::format("\"{}\" is no class of error", *filter.cls));
    if (asked.body.contains("key")) filter.key = asked.body["key"].get<std::vector<std::string>>();
    const auto gone = retry_dead_letters(session, filter);
    if (!gone) return gone.error();
    std::int64_t letters = 0;
    for (const auto& [pipeline, count] : *gone) letters += count;
    return Done{fmt::format("{} dead letter{} tried again", letters, letters == 1 ? " is" : "s are"), {{"retried", letters}}};
}

Result<Done> carry_out(ActionKind kind, Session& session, const Asked& asked) {
    switch (kind) {
        case ActionKind::reconcile: return reconcile(session, asked);
        case ActionKind::suspend: return suspend(session, asked);
        case ActionKind::resume: return resume(session, asked);
        case ActionKind::approve: return approve(session, asked);
        case ActionKind::rollback: return roll_back(session, asked);
        case ActionKind::retry_dead_letters: break;
    }
    return retry(session, asked);
}

Result<std::string> login_of(Session& session) {
    static const Statement kLogin{"action_login", "SELECT current_user::text"};
    return guarded([&] { return session.exec(kLogin).text(0, 0); });
}

Status write_event(Session& log, std::int64_t uid, const std::string& message) {
    return guarded([&] {
        Transaction tx = log.begin();
        add_event(tx, {.uid = uid, .type = "Normal", .reason = std::string(kActionReason), .message = message});
        tx.commit();
    });
}

bool same_origin(std::string_view origin, std::string_view host) {
    for (const std::string_view scheme : {"http://", "https://"}) {
        if (origin.starts_with(scheme) && origin.substr(scheme.size()) == host) return true;
    }
    return false;
}

}  // namespace

std::string_view to_string(ActionKind kind) noexcept {
    switch (kind) {
        case ActionKind::reconcile: return "reconcile";
        case ActionKind::suspend: return "suspend";
        case ActionKind::resume: return "resume";
        case ActionKind::approve: return "approve";
        case ActionKind::rollback: return "rollback";
        case ActionKind::retry_dead_letters: break;
    }
    return "retry-dead-letters";
}

std::span<const ActionField> action_fields(ActionKind kind) {
    switch (kind) {
        case ActionKind::reconcile: return kReconcile;
        case ActionKind::suspend: return kSuspend;
        case ActionKind::resume: return kResume;
        case ActionKind::approve: return kApprove;
        case ActionKind::rollback: return kRollback;
        case ActionKind::retry_dead_letters: break;
    }
    return kRetry;
}

std::optional<HttpResponse> action_refusal(const HttpRequest& request, const Settings& settings) {
    if (settings.http_token.empty() || settings.http_action_url.empty())
        return problem(403,
                       "nothing is changed over HTTP here: set http.token, and http.action_url to the login whose rights whoever "
                       "has the token may use (docs/http-api.md)");
    if (!request.trusted) return problem(401, "send the token of the setting http.token as Authorization: Bearer");
    const std::string_view origin = request.header("origin");
    if (!origin.empty() && !same_origin(origin, request.header("host")))
        return problem(403, "a page of another site asks for this; only the dashboard of this server may");
    std::string_view type = request.header("content-type");
    type = type.substr(0, type.find(';'));
    while (type.ends_with(' ')) type.remove_suffix(1);
    if (type != "application/json") return problem(415, "send the body as application/json; {} where there is nothing to say");
    return std::nullopt;
}

Result<ApiJson> act(ActionKind kind, const HttpRequest& request, Session& actor, Session& log) {
    Result<ApiJson> body = read_body(kind, request.body);
    if (!body) return body.error();
    const Result<PipelineSpec> pipeline = find_pipeline(actor, request.parameter("name"));
    if (!pipeline) return pipeline.error();
    const Result<std::string> login = login_of(actor);
    if (!login) return login.error();
    const Asked asked{pipeline->name, pipeline->uid, *std::move(body)};
    const std::string named = outside_text(asked.text("actor"), kMostActor);
    const std::string reason = outside_text(asked.text("reason"), 200);
    const std::string who = fmt::format("over HTTP from {}{}, as role \"{}\"", request.peer,
                                        named.empty() ? "" : fmt::format(" by \"{}\" (as it says)", named), *login);
    const Result<Done> done = carry_out(kind, actor, asked);
    if (!done) {
        spdlog::warn("pipeline \"{}\": {} was asked for {} and is refused: {}", asked.pipeline, to_string(kind), who,
                     done.error().message);
        return done.error();
    }
    const std::string message =
        fmt::format("{}: {}; asked for {}{}", to_string(kind), done->sentence, who, reason.empty() ? "" : ": " + reason);
    const Status written = write_event(log, asked.uid, message);
    // It is done and cannot be undone here: then the log alone says who it was.
    if (!written) spdlog::warn("pipeline \"{}\": {} (no event: {})", asked.pipeline, message, written.error().message);
    if (written) spdlog::info("pipeline \"{}\": {}", asked.pipeline, message);
    ApiJson out{
        {"pipeline", asked.pipeline}, {"action", to_string(kind)}, {"done", done->sentence}, {"eventWritten", written.ok()}};
    out.update(done->figures);
    return out;
}

}  // namespace homeostat
