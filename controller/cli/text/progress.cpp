#include "controller/cli/text/progress.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "controller/cli/text/figures.hpp"

namespace homeostat {

namespace {

// Long enough to smooth over batches, short enough to follow a provider that slows down.
constexpr std::chrono::seconds kWindow{10};

std::int64_t expected_rows(const Look& look, bool& estimate) {
    const Run& run = *look.run;
    estimate = false;
    if (run.phase != RunPhase::sweeping) return run.seen;
    std::int64_t rows = look.status.source_documents.value_or(std::llround(look.estimated_rows));
    if (look.declared) rows = rows > 0 ? std::min(rows, *look.declared) : *look.declared;
    estimate = true;
    return std::max(rows, run.seen);
}

}  // namespace

Progress ProgressMeter::update(const Look& look, SteadyTime now) {
    Progress p;
    if (!look.run) {
        samples_.clear();
        run_id_ = 0;
        // As the line has it: with what waits.
        const std::int64_t drift =
            std::max(look.status.drift.to_embed() + look.line.waiting, look.line.drift) + look.line.dead_letters;
        p.total = look.status.source_documents.value_or(0);
        p.share = p.total > 0 ? std::clamp(1.0 - static_cast<double>(drift) / static_cast<double>(p.total), 0.0, 1.0)
                              : (look.line.kstatus == "Current" ? 1.0 : 0.0);
        return p;
    }
    const Run& run = *look.run;
    if (run.id != run_id_) {
        samples_.clear();
        share_ = 0;
    }
    run_id_ = run.id;
    p.done = look.progress.written + look.progress.dropped + look.progress.removed;
    p.total = expected_rows(look, p.total_is_estimate);
    const std::int64_t open = std::max<std::int64_t>(0, run.planned - p.done);
    // The first sweep finds out what there is to do; later ones look whether it is done.
    const std::int64_t unseen = run.sweeps == 1 ? std::max<std::int64_t>(0, p.total - run.seen) : 0;
    // Where a look was completed before, what this one has not come to is as it was then: a sweep over what is sound begins at
    // all.
    const std::int64_t unsound =
        look.status.source_documents ? std::clamp<std::int64_t>(look.status.drift.to_embed() - run.planned, 0, unseen) : unseen;
    if (p.total > 0) p.share = std::clamp(1.0 - static_cast<double>(open + unsound) / static_cast<double>(p.total), 0.0, 1.0);
    // What is found on the way makes the work more, and what was done none the less.
    share_ = p.share = std::max(p.share, share_);

    samples_.push_back({now, p.done});
    while (samples_.size() > 2 && now - samples_[1].at > kWindow) samples_.pop_front();
    const double seconds = std::chrono::duration<double>(now - samples_.front().at).count();
    if (seconds > 0) p.rate = static_cast<double>(p.done - samples_.front().done) / seconds;
    // Of what is not looked at yet, as much needs work as of what is.
    const double density = run.seen > 0 ? std::min(1.0, static_cast<double>(run.planned) / static_cast<double>(run.seen)) : 0;
    if (p.rate > 0) p.seconds_left = (static_cast<double>(open) + static_cast<double>(unseen) * density) / p.rate;
    return p;
}

std::string paid_text(const Look& look) {
    const std::int64_t tokens = look.progress.tokens;
    if (tokens == 0) return "";
    const std::string cost =
        look.price > 0 ? fmt::format(" ({:.4g} {})", static_cast<double>(tokens) * look.price / 1e6, look.currency) : "";
    return counted(tokens, "token") + cost;
}

std::string bar_text(double share, std::size_t width) {
    const auto full = static_cast<std::size_t>(std::floor(share * static_cast<double>(width)));
    return "[" + std::string(full, '#') + std::string(width - full, '-') + "]";
}

std::string drift_text(const DriftCounts& d) {
    const std::array<std::pair<std::string_view, std::int64_t>, 7> classes{{{"missing", d.missing},
                                                                            {"stale", d.stale},
                                                                            {"moved", d.moved},
                                                                            {"partial", d.partial},
                                                                            {"invalid", d.invalid},
                                                                            {"orphaned", d.orphaned},
                                                                            {"excess", d.excess}}};
    std::string out;
    for (const auto& [name, n] : classes) {
        if (n > 0) out += fmt::format("{}{} {}", out.empty() ? "" : ", ", name, count_text(n));
    }
    return out;
}

}  // namespace homeostat
