#include "controller/cli/checks/measured_time.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <thread>

#include "controller/cli/checks/ask_provider.hpp"

namespace homeostat {

namespace {

// Of about a second on one core.
constexpr std::uint64_t kTokensAsked = 2'000;
// With a blank each is four bytes, which is how a token is reckoned, and one piece for the model.
constexpr std::array<std::string_view, 12> kWords{"the", "and", "not", "you", "all", "can",
                                                  "had", "her", "one", "our", "out", "day"};

// Different ones, as the same text is embedded once.
std::vector<std::string> texts_of(std::size_t count, std::size_t bytes) {
    std::vector<std::string> texts(count);
    for (std::size_t i = 0; i < count; ++i) {
        texts[i] = fmt::format("{} ", i);
        for (std::size_t w = i; texts[i].size() < bytes; w += 1 + i % 5)
            texts[i] += fmt::format("{} ", kWords[w % kWords.size()]);
        texts[i].resize(std::max<std::size_t>(bytes, 1));
    }
    return texts;
}

}  // namespace

void measure_time(const Settings& settings, const ProviderSpec& provider, Observation& observation) {
    PlanEstimate& plan = observation.plan;
    if (provider.kind != "local" || !plan.assumed || plan.chunks == 0) return;
    const std::uint64_t reads = std::max(1U, model_reads(provider));
    const std::uint64_t tokens = std::clamp<std::uint64_t>(static_cast<std::uint64_t>(plan.tokens / plan.chunks), 1, reads);
    const std::size_t count = std::clamp<std::size_t>(kTokensAsked / tokens, 16, 256);
    const SystemClock clock;
    const auto seconds_for = [&](std::size_t texts) -> std::optional<double> {
        const SteadyTime started = clock.steady_now();
        const auto answer = ask_provider(settings, provider, provider.model.value_or(""), provider.dimensions.value_or(512),
                                         texts_of(texts, tokens * 4), TextRole::document);
        if (!answer) return std::nullopt;
        return std::chrono::duration<double>(clock.steady_now() - started).count();
    };
    // The first loads the model, and so does the second: what they differ by is the texts.
    const auto one = seconds_for(1);
    const auto many = one ? seconds_for(count + 1) : std::nullopt;
    if (!many || *many <= *one) return;
    const std::uint32_t threads =
        settings.embed_threads > 0 ? settings.embed_threads : std::max(1U, std::thread::hardware_concurrency());
    plan.minutes = (*many - *one) / static_cast<double>(count) * static_cast<double>(plan.chunks) / threads / 60;
    plan.assumed = false;
}

}  // namespace homeostat
