#include "core/error.hpp"

#include <algorithm>
#include <array>
#include <numeric>
#include <vector>

namespace homeostat {

namespace {

struct ClassFacts {
    std::string_view name;
    bool retryable;
    bool costs_no_attempt;
    std::string_view strategy;
};

// One row a class, in the order of the enum.
constexpr std::array<ClassFacts, 18> kFacts{{
    {"invalid", false, false, "manual_intervention"},
    {"not_found", false, false, "manual_intervention"},
    {"conflict", true, true, "retry_with_backoff"},
    {"fenced", false, true, "drop"},
    {"cancelled", false, true, "drop"},
    {"throttled", true, true, "wait_for_gate"},
    {"unavailable", true, true, "wait_for_gate"},
    {"transient", true, false, "retry_with_backoff"},
    {"timeout", true, false, "reduce_batch_size"},
    {"local", true, false, "retry_with_backoff"},
    {"too_large", false, false, "reduce_batch_size"},
    {"content", false, false, "bisect"},
    {"bad_answer", true, false, "retry_with_backoff"},
    {"auth", false, true, "manual_intervention"},
    {"db_transient", true, true, "retry_with_backoff"},
    {"db_resource", true, true, "retry_with_backoff"},
    {"db_permanent", false, true, "manual_intervention"},
    {"internal", false, false, "manual_intervention"},
}};
static_assert(kFacts.size() == static_cast<std::size_t>(ErrorClass::internal) + 1);

const ClassFacts& facts(ErrorClass c) noexcept { return kFacts[static_cast<std::size_t>(c)]; }

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

// Letters to insert, remove, replace or swap with their neighbour (optimal string alignment); large and small ones are the same.
std::size_t edit_distance(std::string_view a, std::string_view b) {
    std::vector<std::size_t> before(b.size() + 1);  // the row before the last
    std::vector<std::size_t> last(b.size() + 1);
    std::vector<std::size_t> row(b.size() + 1);
    std::iota(row.begin(), row.end(), 0U);
    const auto same = [&](std::size_t i, std::size_t j) { return lower(a[i - 1]) == lower(b[j - 1]); };
    for (std::size_t i = 1; i <= a.size(); ++i) {
        before.swap(last);
        last.swap(row);
        row[0] = i;
        for (std::size_t j = 1; j <= b.size(); ++j) {
            row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (same(i, j) ? 0U : 1U)});
            if (i > 1 && j > 1 && same(i, j - 1) && same(i - 1, j)) row[j] = std::min(row[j], before[j - 2] + 1);
        }
    }
    return row.back();
}

}  // namespace

std::string_view to_string(ErrorClass c) noexcept { return facts(c).name; }

ErrorClass error_class_named(std::string_view name) noexcept {
    for (std::size_t i = 0; i < kFacts.size(); ++i) {
        if (kFacts[i].name == name) return static_cast<ErrorClass>(i);
    }
    return ErrorClass::internal;
}

std::string_view to_string(Origin o) noexcept {
    switch (o) {
        case Origin::ours: return "ours";
        case Origin::theirs: return "theirs";
        case Origin::user: return "user";
    }
    return "ours";
}

bool Error::retryable() const noexcept { return facts(cls).retryable; }
bool Error::costs_no_attempt() const noexcept { return facts(cls).costs_no_attempt; }
std::string_view Error::strategy() const noexcept { return facts(cls).strategy; }

Error Error::with_prefix(std::string_view prefix) const {
    Error e = *this;
    const std::string head = std::string(prefix) + ": ";
    if (!e.message.starts_with(head)) e.message.insert(0, head);
    return e;
}

Error invalid(std::string message) { return {.cls = ErrorClass::invalid, .message = std::move(message), .origin = Origin::user}; }
Error not_found(std::string message) {
    return {.cls = ErrorClass::not_found, .message = std::move(message), .origin = Origin::user};
}
Error fenced(std::string message) { return {.cls = ErrorClass::fenced, .message = std::move(message)}; }
Error cancelled(std::string message) { return {.cls = ErrorClass::cancelled, .message = std::move(message)}; }
Error internal_error(std::string message) { return {.cls = ErrorClass::internal, .message = std::move(message)}; }

std::string nearest_name(std::string_view wrong, std::span<const std::string_view> known) {
    std::string_view best;
    // A slip is two letters, or a third of a longer word: beyond that a suggestion misleads.
    const std::size_t short_word = wrong.size() < 4 ? 1 : 2;
    std::size_t limit = std::max(short_word, wrong.size() / 3) + 1;
    for (const std::string_view name : known) {
        if (const std::size_t d = edit_distance(wrong, name); d < limit && d < name.size()) {
            limit = d;
            best = name;
        }
    }
    return std::string(best);
}

std::string did_you_mean(std::string_view wrong, std::span<const std::string_view> known) {
    const std::string name = nearest_name(wrong, known);
    return name.empty() ? std::string() : " (did you mean \"" + name + "\"?)";
}

}  // namespace homeostat
