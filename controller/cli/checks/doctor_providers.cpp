// What doctor asks of providers: an answer, to a query and, where it is sent other members, to a document.
#include <fmt/core.h>

#include <algorithm>
#include <set>
#include <utility>

#include "controller/cli/checks/ask_provider.hpp"
#include "controller/cli/checks/doctor_checks.hpp"
#include "core/clock.hpp"
#include "store/control/resources.hpp"
#include "store/data/revisions.hpp"

namespace homeostat {

namespace {

struct Question {
    ProviderSpec provider;
    std::string model;
    std::uint32_t dimensions = 0;
    std::string used_by;  // a pipeline; "" = none
};

std::vector<Question> questions(const std::vector<ProviderSpec>& providers, const std::vector<PipelineSpec>& pipelines) {
    std::vector<Question> out;
    for (const ProviderSpec& provider : providers) {
        std::set<std::pair<std::string, std::uint32_t>> asked;
        for (const PipelineSpec& p : pipelines) {
            if (p.provider != provider.name || p.deleting) continue;
            const RevisionSettings s = RevisionSettings::of(p, provider);
            if (asked.emplace(s.model, s.dimensions).second) out.push_back({provider, s.model, s.dimensions, p.name});
        }
        if (asked.empty()) out.push_back({provider, provider.model.value_or(""), provider.dimensions.value_or(0), ""});
    }
    return out;
}

std::string provider_fix(const ProviderSpec& p, const Error& error) {
    if (p.kind == "local") return "run scripts/bootstrap, which fetches and checks the weights, or set embed.model_dir";
    if (error.code == "secret" || error.code == "forbidden") return "";  // what to write in the settings has been said
    switch (error.cls) {
        case ErrorClass::auth: return "put a valid credential where the provider's reference points to, and restart";
        case ErrorClass::local: return fmt::format("see that {} can be reached from here", p.endpoint.value_or("its endpoint"));
        case ErrorClass::bad_answer:
            return "check model and dimensions of provider and pipeline against what the endpoint serves";
        case ErrorClass::throttled: return "wait, or lower requests_per_minute of the provider";
        default: return fmt::format("homeostat describe provider \"{}\" shows how it is declared", p.name);
    }
}

constexpr const char* kDoctorText = "homeostat doctor";

// Where queries have members of their own, an endpoint may take those and refuse the others.
Status ask_for_document(const Question& q, const Settings& settings) {
    if (q.provider.query_request == "{}") return {};
    const Result<Embeddings> answer =
        ask_provider(settings, q.provider, q.model, q.dimensions, {kDoctorText}, TextRole::document);
    if (answer) return {};
    return answer.error().with_prefix("queries are answered, documents (column request) are not");
}

// Without a graphics card a text may take as long.
constexpr Millis kSlowText{100};

Check check_provider(Question q, const Settings& settings) {
    const std::string subject = fmt::format("provider {}", q.provider.name);
    if (q.dimensions == 0)
        return {CheckHealth::ok, subject, "used by no pipeline and without dimensions of its own: not asked", ""};
    const Millis timeout = std::exchange(q.provider.timeout, std::min(q.provider.timeout, Millis(10'000)));
    const SystemClock clock;
    const SteadyTime before = clock.steady_now();
    Result<Embeddings> answer = ask_provider(settings, q.provider, q.model, q.dimensions, {kDoctorText}, TextRole::query);
    const double seconds = std::chrono::duration<double>(clock.steady_now() - before).count();
    if (answer) {
        if (Status document = ask_for_document(q, settings); !document) answer = std::move(document).error();
    }
    if (answer) {
        std::string found = fmt::format("{} answers with {} dimensions, {:.0f} ms", q.model, answer->dimensions, seconds * 1'000);
        if (q.provider.kind != "openai" || timeout >= kSlowText * q.provider.max_batch)
            return {CheckHealth::ok, subject, std::move(found)};
        found += fmt::format("; its timeout leaves {:.0f} ms for each of the {} texts that a request may hold",
                             static_cast<double>(timeout.count()) / q.provider.max_batch, q.provider.max_batch);
        return {CheckHealth::warn, subject, std::move(found),
                fmt::format("nothing, if it is quicker (requests are cut to what it answers in time); else a longer timeout or a "
                            "max_batch of {}",
                            std::max<std::int64_t>(1, timeout / kSlowText))};
    }
    const CheckHealth health = q.used_by.empty() ? CheckHealth::warn : CheckHealth::fail;
    return {health, subject, fmt::format("{}{}", answer.error().message, q.used_by.empty() ? " (used by no pipeline)" : ""),
            provider_fix(q.provider, answer.error())};
}

}  // namespace

Checks check_providers(Session& session, const Settings& settings) {
    const Result<std::vector<ProviderSpec>> providers = list_providers(session);
    if (!providers) return {Check{CheckHealth::fail, "providers", providers.error().message, ""}};
    const Result<std::vector<PipelineSpec>> pipelines = list_pipelines(session);
    if (!pipelines) return {Check{CheckHealth::fail, "providers", pipelines.error().message, ""}};
    Checks out;
    for (Question& q : questions(*providers, *pipelines)) out.push_back(check_provider(std::move(q), settings));
    return out;
}

}  // namespace homeostat
