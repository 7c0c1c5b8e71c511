// Whether an endpoint gives texts that have nothing in common the same vectors: a cache in front of it that does not look at what
// is asked, or a model that is broken, or a stand-in that was left in its place.
//
// Every vector is sound by itself then, so nothing else in an answer tells. Some texts have one vector by right: a model that
// makes no difference between letters of either case, that reads no further than where two texts part, or that knows none of
// their words. So only texts that begin differently count, and never one or two of them. Numbers are compared bit for bit.
// Thread-safe.
#pragma once

#include <cstdint>
#include <deque>
#include <set>
#include <string>
#include <vector>

#include "core/sync.hpp"
#include "reconcilers/embed/embedder.hpp"

namespace homeostat {

class SameAnswers {
public:
    // So many texts in a row with one vector are no chance, and so many of an answer with those of an earlier one.
    static constexpr std::size_t kInARow = 8;
    static constexpr std::size_t kOfAnAnswer = 3;

    // Notes an answer: one vector a text. The error (class bad_answer, code bad_answer::kRepeated) says what is the matter.
    Status look(const std::vector<std::string>& texts, const Embeddings& answer) EXCLUDES(mutex_);

private:
    struct Answer {
        std::vector<std::uint64_t> vectors;
        std::vector<std::uint64_t> beginnings;  // of the texts
    };
    bool one_for_all(const Answer& now) REQUIRES(mutex_);
    bool seen_before(const Answer& now) REQUIRES(mutex_);

    Mutex mutex_;
    std::deque<Answer> last_ GUARDED_BY(mutex_);
    std::uint64_t vector_ GUARDED_BY(mutex_) = 0;  // of the last text
    std::set<std::uint64_t> beginnings_ GUARDED_BY(mutex_);  // of texts in a row that had it
};

}  // namespace homeostat
