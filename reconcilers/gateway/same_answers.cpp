#include "reconcilers/gateway/same_answers.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <string_view>

namespace homeostat {

namespace {

constexpr std::size_t kAnswers = 16;  // remembered
constexpr std::size_t kBeginning = 256;  // bytes of a text: some sixty tokens, which every model reads
constexpr std::size_t kNumbers = 32;  // of a vector; two vectors that share so many are one

// Letters and digits alone, in one case: what models that make little difference see of a text.
std::uint64_t beginning_of(const std::string& text) {
    std::string seen;
    for (const char c : text) {
        if (seen.size() == kBeginning) break;
        const auto u = static_cast<unsigned char>(c);
        if (c >= 'A' && c <= 'Z') {
            seen += static_cast<char>(c + 32);
        } else if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || u >= 0x80) {
            seen += c;
        }
    }
    return std::hash<std::string_view>{}(seen);
}

std::uint64_t vector_of(const Embeddings& answer, std::size_t i) {
    const std::size_t numbers = std::min<std::size_t>(kNumbers, answer.dimensions);
    return std::hash<std::string_view>{}({reinterpret_cast<const char*>(answer.row(i)), numbers * sizeof(float)});
}

Error repeated(const std::string& what) {
    return {.cls = ErrorClass::bad_answer,
            .message = what +
                       "; nothing of it was used: look for a cache in front of the endpoint that does not look at what is "
                       "asked, or a model that is broken",
            .origin = Origin::theirs,
            .code = bad_answer::kRepeated};
}

}  // namespace

bool SameAnswers::one_for_all(const Answer& now) {
    for (std::size_t i = 0; i < now.vectors.size(); ++i) {
        if (now.vectors[i] != vector_) beginnings_.clear();
        vector_ = now.vectors[i];
        if (beginnings_.size() < kInARow) beginnings_.insert(now.beginnings[i]);
    }
    return beginnings_.size() >= kInARow;
}

// Of at least so many different vectors, or it is one for all.
bool SameAnswers::seen_before(const Answer& now) {
    const std::set<std::uint64_t> distinct(now.vectors.begin(), now.vectors.end());
    if (distinct.size() < kOfAnAnswer) return false;
    return std::any_of(last_.begin(), last_.end(), [&](const Answer& then) {
        if (then.vectors != now.vectors) return false;
        std::size_t others = 0;
        for (std::size_t i = 0; i < now.beginnings.size(); ++i) others += then.beginnings[i] != now.beginnings[i] ? 1 : 0;
        return others >= kOfAnAnswer;
    });
}

Status SameAnswers::look(const std::vector<std::string>& texts, const Embeddings& answer) {
    Answer now;
    for (std::size_t i = 0; i < texts.size(); ++i) {
        now.vectors.push_back(vector_of(answer, i));
        now.beginnings.push_back(beginning_of(texts[i]));
    }
    const Lock lock(mutex_);
    if (one_for_all(now)) {
        return repeated(
            fmt::format("{} texts that begin differently came back one after the other with one and the same vector", kInARow));
    }
    if (seen_before(now))
        return repeated(fmt::format("the {} vectors in the answer are those of an earlier answer to other texts", texts.size()));
    if (texts.size() < kOfAnAnswer) return {};
    last_.push_back(std::move(now));
    if (last_.size() > kAnswers) last_.pop_front();
    return {};
}

}  // namespace homeostat
