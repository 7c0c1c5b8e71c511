// Where a text may be cut: grapheme clusters, sentences and words of UAX 29, as ICU's root locale has them.
//
// SegmentationRules is expensive to make (once a chunker), immutable, and safe from any thread. A Segmenter is cheap, belongs to
// one text and one thread, and asks ICU only where the text is not ASCII; the answers are the same either way.
// Positions are byte offsets. Ill-formed bytes count as one replacement character for each maximal subpart.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "core/error.hpp"

namespace homeostat {

// The White_Space property of Unicode, as a number of bytes: 0 where the character at (or just before) `at` is none.
std::size_t white_space_at(std::string_view text, std::size_t at) noexcept;
std::size_t white_space_before(std::string_view text, std::size_t at) noexcept;
bool is_ascii(std::string_view text) noexcept;

struct Line {
    std::size_t begin = 0;
    std::size_t end = 0;   // without its terminator
    std::size_t next = 0;  // where the next line begins
};
// The line at `at`; lines end with LF, CR LF or CR.
Line line_at(std::string_view text, std::size_t at) noexcept;

class SegmentationRules {
public:
    static Result<std::shared_ptr<const SegmentationRules>> create();
    ~SegmentationRules();
    SegmentationRules(const SegmentationRules&) = delete;
    SegmentationRules& operator=(const SegmentationRules&) = delete;

private:
    friend class Segmenter;
    struct Icu;
    SegmentationRules();
    std::unique_ptr<Icu> icu_;
    std::array<std::uint8_t, 128> sentence_class_{};  // Sentence_Break of ASCII, from ICU's own tables
};

class Segmenter {
public:
    enum class Path : std::uint8_t { fast, icu };  // icu: never take the short cut for ASCII; for tests

    Segmenter(const SegmentationRules& rules, std::string_view text, Path path = Path::fast);
    ~Segmenter();
    Segmenter(const Segmenter&) = delete;
    Segmenter& operator=(const Segmenter&) = delete;

    std::string_view text() const noexcept { return text_; }

    // The nearest grapheme boundary at or before, at or after, strictly after `at`.
    std::size_t grapheme_floor(std::size_t at);
    std::size_t grapheme_ceil(std::size_t at);
    std::size_t next_grapheme(std::size_t at);
    // Both ends are grapheme boundaries.
    std::uint64_t count_graphemes(std::size_t begin, std::size_t end);

    // Where the sentence (or word, with the white space behind it) that begins at `at` ends, at most `end`. [at, end) holds no
    // line terminator. A word ends before the next one after white space, or between letters of scripts that use none.
    std::size_t next_sentence(std::size_t at, std::size_t end, bool ascii);
    std::size_t next_word(std::size_t at, std::size_t end, bool ascii);
    // Whether [begin, end) ends with the end of a sentence (". ", "!", "。", also behind a quote or bracket).
    bool ends_sentence(std::size_t begin, std::size_t end) const;

    // [begin, end) without the white space at its ends; both are grapheme boundaries, before and after. Empty where all is white.
    std::pair<std::size_t, std::size_t> trimmed(std::size_t begin, std::size_t end);

private:
    struct Iterators;
    std::size_t ascii_sentence(std::size_t at, std::size_t end) const;
    bool simple_gap(std::size_t at) const noexcept;
    bool between_flags(std::size_t at) noexcept;
    std::size_t icu_floor(std::size_t at);
    std::size_t icu_after(std::size_t at);
    Iterators& iterators();

    const SegmentationRules& rules_;
    std::string_view text_;
    Path path_;
    std::size_t flags_begin_ = 0;  // the run of regional indicators last looked at
    std::size_t flags_end_ = 0;
    std::unique_ptr<Iterators> iterators_;
};

}  // namespace homeostat
