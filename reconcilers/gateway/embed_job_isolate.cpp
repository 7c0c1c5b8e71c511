// The part of a batch's way through the gateway that finds out which text is at fault, or that none is.
#include <algorithm>

#include "reconcilers/gateway/embed_job.hpp"
#include "reconcilers/gateway/shorten.hpp"

namespace homeostat {

namespace asio = boost::asio;

namespace {

constexpr int kMostThrottles = 20;  // of a text that is known to be good
constexpr int kMostCuts = 12;       // of one text: halved as often it is gone

// These say nothing about what was asked.
bool says_nothing(ErrorClass c) {
    return c == ErrorClass::cancelled || c == ErrorClass::throttled || c == ErrorClass::unavailable || c == ErrorClass::local ||
           c == ErrorClass::internal;
}

}  // namespace

void EmbedJob::again(Refusal& refusal, Asked& asked) {
    refusal.error = std::move(asked.answer).error();
    refusal.channel = asked.channel;
    refusal.sent_at = asked.sent_at;
    refusal.at = asked.failed_at;
    ++refusal.evidence.refusals;
}

asio::awaitable<Status> EmbedJob::vouch(Refusal refusal) {
    const std::shared_ptr<Lane> lane = refusal.channel->lane;
    if (lane->answered_since(refusal.at)) co_return Status{};
    Status proof;
    std::uint64_t wasted = 0;
    const std::optional<Error> known = lane->disproved_since(refusal.sent_at);
    if (known) proof = *known;
    for (int i = 0; i < kMostThrottles && !known; ++i) {
        proof = co_await gateway_.prove(refusal.channel, order_.dimensions, context_, &wasted);
        if (proof || proof.error().cls != ErrorClass::throttled || proof.error().code == "Throttled") break;
    }
    note_wasted(wasted, refusal.channel->provider.uid);
    if (proof || says_nothing(proof.error().cls)) co_return proof;
    const std::optional<Error> blocked = lane->blocked();
    co_return provider_at_fault(proof.error(), lane->has_answered(), blocked ? blocked->retry_after : std::nullopt);
}

asio::awaitable<Result<bool>> EmbedJob::try_part(const Part& part, Refusal& refusal, Sizes& sizes) {
    Asked asked = co_await call(part, true);
    if (asked.answer) {
        place(part, *asked.answer);
        sizes.passed = std::max(sizes.passed, part.size());
        co_return true;
    }
    if (!asked.channel || !may_be_a_text(asked.answer.error(), true)) co_return std::move(asked.answer).error();
    again(refusal, asked);
    refusal.evidence.alone = part.size() == 1 ? 1 : 0;
    sizes.refused = std::min(sizes.refused, part.size());
    if (part.size() > 1) ++sizes.refusals;
    co_return false;
}

// Halving: a half that is refused holds a culprit, and the other half is put by; a half that is answered leaves it to the other
// without asking, unless the whole was sent but once and may have failed by chance. What was put by is asked for at the end in
// one request. One culprit of n costs log2(n) requests and a few more.
asio::awaitable<Status> EmbedJob::isolate(Part part, Refusal refusal) {
    if (Status well = co_await vouch(refusal); !well) co_return well;
    const Error first = refusal.error;
    Sizes sizes{.refused = part.size()};
    Part suspects = std::move(part);
    Part put_by;
    bool by_chance = refusal.evidence.refusals == 1 && first.cls == ErrorClass::bad_answer;
    bool taken = false;
    while (suspects.size() > 1) {
        const auto middle = suspects.begin() + static_cast<std::ptrdiff_t>(suspects.size() / 2);
        Part half(suspects.begin(), middle);
        Part other(middle, suspects.end());
        Result<bool> well = co_await try_part(half, refusal, sizes);
        if (!well) co_return std::move(well).error();
        if (!*well) put_by.insert(put_by.end(), other.begin(), other.end());
        suspects = std::move(*well ? other : half);
        if (!std::exchange(by_chance, false) || !*well) continue;
        well = co_await try_part(suspects, refusal, sizes);
        if (!well) co_return std::move(well).error();
        taken = *well;
        if (taken) suspects.clear();
    }
    if (!suspects.empty()) {
        if (Status s = co_await judge(suspects.front(), std::move(refusal), taken); !s) co_return s;
    }
    // Each was taken, and all together were not: there are too many of them.
    if (taken && (first.cls == ErrorClass::content || mixes_up(first))) {
        const bool sure = first.cls == ErrorClass::content || sizes.refusals > 1;
        for (const ChannelPtr& c : channels_) c->lane->found_limit(sizes.refused, std::max<std::size_t>(sizes.passed, 1), sure);
    }
    co_return co_await solve_all({}, std::move(put_by));
}

// It was refused, a good text was taken, and it is refused again: no restart looks like that.
asio::awaitable<Status> EmbedJob::judge(std::size_t index, Refusal refusal, bool& taken) {
    if (order_.provider.too_long == "Truncate" && refusal.error.cls == ErrorClass::too_large) {
        Result<bool> placed = co_await shorten(index, refusal);
        if (!placed) co_return std::move(placed).error();
        if (*placed) co_return Status{};
    }
    while (!enough(refusal.evidence, refusal.error)) {
        if (Status well = co_await vouch(refusal); !well) co_return well;
        const Part alone{index};
        Asked asked = co_await call(alone, true);
        if (asked.answer) {
            place(alone, *asked.answer);
            taken = true;
            co_return Status{};
        }
        if (!asked.channel || !may_be_a_text(asked.answer.error(), true)) co_return std::move(asked.answer).error();
        again(refusal, asked);
        ++refusal.evidence.alone;
    }
    refuse(index, condemned(std::move(refusal.error)));
    co_return Status{};
}

asio::awaitable<Result<bool>> EmbedJob::shorten(std::size_t index, Refusal& refusal) {
    const Part alone{index};
    for (int i = 0; i < kMostCuts && refusal.error.cls == ErrorClass::too_large; ++i) {
        const std::string text = text_now(index);
        std::string less = shortened_text(text, refusal.error);
        if (less.empty() || less.size() == text.size()) break;
        {
            const Lock lock(mutex_);
            shortened_[index] = std::move(less);
        }
        Asked asked = co_await call(alone, true);
        if (asked.answer) {
            place(alone, *asked.answer);
            gateway_.parts_.telemetry.metrics
                .counter("homeostat_provider_truncated_texts_total",
                         "Texts that were too long for the model and of which only the beginning was embedded.",
                         {{"provider", order_.provider.name}})
                .add();
            co_return true;
        }
        if (!asked.channel || !may_be_a_text(asked.answer.error(), true)) co_return std::move(asked.answer).error();
        again(refusal, asked);
        ++refusal.evidence.alone;
    }
    co_return false;
}

std::string EmbedJob::text_now(std::size_t index) {
    const Lock lock(mutex_);
    const auto it = shortened_.find(index);
    return it == shortened_.end() ? texts_[index] : it->second;
}

}  // namespace homeostat
