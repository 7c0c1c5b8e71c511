#include "reconcilers/chunk/segmenter.hpp"

#include <unicode/brkiter.h>
#include <unicode/uchar.h>
#include <unicode/utext.h>
#include <unicode/utf8.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "reconcilers/chunk/steps.hpp"

namespace homeostat {
namespace {

UChar32 code_point_at(std::string_view text, std::size_t at) noexcept {
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(text.data());
    auto i = static_cast<std::int32_t>(at);
    UChar32 c = 0;
    U8_NEXT(bytes, i, static_cast<std::int32_t>(text.size()), c);  // NOLINT(bugprone-inc-dec-in-conditions): ICU's macro
    return c;
}

// The code point that ends at `at`, which moves to where it begins.
UChar32 step_back(std::string_view text, std::size_t& at) noexcept {
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(text.data());
    auto i = static_cast<std::int32_t>(at);
    UChar32 c = 0;
    U8_PREV(bytes, 0, i, c);
    at = static_cast<std::size_t>(i);
    return c;
}

constexpr std::size_t kFlagBytes = 4;

// A regional indicator symbol, two of which make a flag.
bool flag_half_at(std::string_view text, std::size_t at) noexcept {
    if (at + kFlagBytes > text.size() || text.compare(at, 3, "\xF0\x9F\x87") != 0) return false;
    const auto last = static_cast<unsigned char>(text[at + 3]);
    return last >= 0xA6 && last <= 0xBF;
}

bool ascii_byte(char c) noexcept { return static_cast<unsigned char>(c) < 0x80; }
bool ascii_space(char c) noexcept { return c == ' ' || (c >= '\t' && c <= '\r'); }

bool is_letter_sb(int c) noexcept { return c == U_SB_UPPER || c == U_SB_LOWER; }
bool is_paragraph_sb(int c) noexcept { return c == U_SB_SEP || c == U_SB_CR || c == U_SB_LF; }
bool is_terminator_sb(int c) noexcept { return c == U_SB_ATERM || c == U_SB_STERM; }

}  // namespace

std::size_t white_space_at(std::string_view text, std::size_t at) noexcept {
    if (at >= text.size()) return 0;
    if (ascii_byte(text[at])) return ascii_space(text[at]) ? 1 : 0;
    const UChar32 c = code_point_at(text, at);
    return c > 0 && u_isUWhiteSpace(c) ? static_cast<std::size_t>(U8_LENGTH(c)) : 0;
}

std::size_t white_space_before(std::string_view text, std::size_t at) noexcept {
    if (at == 0) return 0;
    if (ascii_byte(text[at - 1])) return ascii_space(text[at - 1]) ? 1 : 0;
    std::size_t begin = at;
    const UChar32 c = step_back(text, begin);
    return c > 0 && u_isUWhiteSpace(c) ? at - begin : 0;
}

bool is_ascii(std::string_view text) noexcept {
    count_chunk_steps(text.size() / 8);
    std::size_t i = 0;
    for (; i + 8 <= text.size(); i += 8) {
        std::uint64_t word = 0;
        std::memcpy(&word, text.data() + i, 8);
        if ((word & 0x8080808080808080U) != 0) return false;
    }
    return std::all_of(text.begin() + static_cast<std::ptrdiff_t>(i), text.end(), ascii_byte);
}

Line line_at(std::string_view text, std::size_t at) noexcept {
    const auto lf = std::min(text.find('\n', at), text.size());
    count_chunk_steps(lf - at + 1);
    const auto cr = text.substr(at, lf - at).find('\r');
    if (cr == std::string_view::npos) return {at, lf, std::min(lf + 1, text.size())};
    const std::size_t end = at + cr;
    const bool pair = end + 1 < text.size() && text[end + 1] == '\n';
    return {at, end, end + (pair ? 2 : 1)};
}

struct SegmentationRules::Icu {
    std::unique_ptr<icu::BreakIterator> graphemes;
    std::unique_ptr<icu::BreakIterator> sentences;
    std::unique_ptr<icu::BreakIterator> words;
};

SegmentationRules::SegmentationRules() : icu_(std::make_unique<Icu>()) {}
SegmentationRules::~SegmentationRules() = default;

Result<std::shared_ptr<const SegmentationRules>> SegmentationRules::create() {
    std::shared_ptr<SegmentationRules> rules(new SegmentationRules);
    UErrorCode status = U_ZERO_ERROR;
    const icu::Locale& root = icu::Locale::getRoot();
    rules->icu_->graphemes.reset(icu::BreakIterator::createCharacterInstance(root, status));
    rules->icu_->sentences.reset(icu::BreakIterator::createSentenceInstance(root, status));
    rules->icu_->words.reset(icu::BreakIterator::createWordInstance(root, status));
    if (U_FAILURE(status)) {
        return Error{.cls = ErrorClass::local,
                     .message = std::string("the Unicode data of ICU cannot be loaded (") + u_errorName(status) +
                                "); install the ICU library this program was built with",
                     .code = u_errorName(status)};
    }
    for (int c = 0; c < 128; ++c) {
        rules->sentence_class_[static_cast<std::size_t>(c)] =
            static_cast<std::uint8_t>(u_getIntPropertyValue(c, UCHAR_SENTENCE_BREAK));
    }
    return std::shared_ptr<const SegmentationRules>(std::move(rules));
}

// Cloned from the rules when first needed: a clone is some hundred times cheaper than a new iterator.
struct Segmenter::Iterators {
    UText source = UTEXT_INITIALIZER;
    std::unique_ptr<icu::BreakIterator> graphemes;
    std::unique_ptr<icu::BreakIterator> sentences;
    std::unique_ptr<icu::BreakIterator> words;

    explicit Iterators(std::string_view text) {
        UErrorCode status = U_ZERO_ERROR;
        utext_openUTF8(&source, text.data(), static_cast<std::int64_t>(text.size()), &status);
    }
    ~Iterators() { utext_close(&source); }
    Iterators(const Iterators&) = delete;
    Iterators& operator=(const Iterators&) = delete;

    icu::BreakIterator& use(std::unique_ptr<icu::BreakIterator>& mine, const icu::BreakIterator& model) {
        if (!mine) {
            UErrorCode status = U_ZERO_ERROR;
            mine.reset(model.clone());
            if (!mine) throw std::bad_alloc();
            mine->setText(&source, status);
        }
        return *mine;
    }
};

Segmenter::Segmenter(const SegmentationRules& rules, std::string_view text, Path path)
    : rules_(rules), text_(text), path_(path) {}
Segmenter::~Segmenter() = default;

Segmenter::Iterators& Segmenter::iterators() {
    if (!iterators_) iterators_ = std::make_unique<Iterators>(text_);
    return *iterators_;
}

// Two ASCII characters are always two graphemes, except CR LF; whatever stands around them.
bool Segmenter::simple_gap(std::size_t at) const noexcept {
    return path_ == Path::fast && ascii_byte(text_[at - 1]) && ascii_byte(text_[at]) &&
           !(text_[at - 1] == '\r' && text_[at] == '\n');
}

// In a run of flags a boundary depends on the whole run before it, which ICU would read anew for every question. Remembering the
// run keeps a document of nothing but flags linear.
bool Segmenter::between_flags(std::size_t at) noexcept {
    if (path_ == Path::icu || at < kFlagBytes || !flag_half_at(text_, at) || !flag_half_at(text_, at - kFlagBytes)) return false;
    if (at > flags_begin_ && at < flags_end_) return true;
    flags_begin_ = at;
    while (flags_begin_ >= kFlagBytes && flag_half_at(text_, flags_begin_ - kFlagBytes)) flags_begin_ -= kFlagBytes;
    flags_end_ = at;
    while (flag_half_at(text_, flags_end_)) flags_end_ += kFlagBytes;
    count_chunk_steps(flags_end_ - flags_begin_);
    return true;
}

std::size_t Segmenter::icu_floor(std::size_t at) {
    auto& it = iterators();
    auto& graphemes = it.use(it.graphemes, *rules_.icu_->graphemes);
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(text_.data());
    auto p = static_cast<std::int32_t>(at);
    U8_SET_CP_START(bytes, 0, p);
    if (between_flags(static_cast<std::size_t>(p))) {
        const auto here = static_cast<std::size_t>(p);
        const std::size_t flag = here - (here - flags_begin_) % (2 * kFlagBytes);
        if (flag > flags_begin_) return flag;
        p = static_cast<std::int32_t>(flag);
    }
    count_chunk_steps(1);
    if (p == 0) return 0;
    if (graphemes.isBoundary(p)) return static_cast<std::size_t>(p);
    return static_cast<std::size_t>(std::max(graphemes.preceding(p), 0));
}

std::size_t Segmenter::icu_after(std::size_t at) {
    if (between_flags(at + kFlagBytes) && at + 2 * kFlagBytes < flags_end_) return at + 2 * kFlagBytes;
    count_chunk_steps(1);
    auto& it = iterators();
    const auto end = it.use(it.graphemes, *rules_.icu_->graphemes).following(static_cast<std::int32_t>(at));
    return end == icu::BreakIterator::DONE ? text_.size() : static_cast<std::size_t>(end);
}

std::size_t Segmenter::grapheme_floor(std::size_t at) {
    if (at == 0 || at >= text_.size()) return std::min(at, text_.size());
    return simple_gap(at) ? at : icu_floor(at);
}

std::size_t Segmenter::grapheme_ceil(std::size_t at) {
    if (at == 0 || at >= text_.size()) return std::min(at, text_.size());
    if (simple_gap(at)) return at;
    const std::size_t floor = icu_floor(at);
    return floor == at ? at : icu_after(floor);
}

std::size_t Segmenter::next_grapheme(std::size_t at) {
    count_chunk_steps(1);
    if (at + 1 >= text_.size()) return text_.size();
    return simple_gap(at + 1) ? at + 1 : icu_after(at);
}

std::uint64_t Segmenter::count_graphemes(std::size_t begin, std::size_t end) {
    std::uint64_t count = 0;
    for (std::size_t at = begin; at < end; at = next_grapheme(at)) ++count;
    return count;
}

// The rules SB6 to SB11 of UAX 29 over the classes of ASCII; a line terminator cannot occur.
std::size_t Segmenter::ascii_sentence(std::size_t at, std::size_t end) const {
    const auto cls = [&](std::size_t i) -> int { return rules_.sentence_class_[static_cast<unsigned char>(text_[i])]; };
    for (std::size_t i = at; i < end;) {
        const int term = cls(i);
        const std::size_t term_at = i++;
        if (!is_terminator_sb(term)) continue;
        if (term == U_SB_ATERM && i < end) {
            if (cls(i) == U_SB_NUMERIC) continue;
            if (term_at > at && is_letter_sb(cls(term_at - 1)) && cls(i) == U_SB_UPPER) continue;
        }
        while (i < end && cls(i) == U_SB_CLOSE) ++i;
        while (i < end && cls(i) == U_SB_SP) ++i;
        if (i == end || is_paragraph_sb(cls(i))) return i;
        if (cls(i) == U_SB_SCONTINUE || is_terminator_sb(cls(i))) continue;
        if (term == U_SB_ATERM) {
            std::size_t k = i;
            while (k < end && !is_letter_sb(cls(k)) && cls(k) != U_SB_OLETTER && !is_paragraph_sb(cls(k)) &&
                   !is_terminator_sb(cls(k))) {
                ++k;
            }
            if (k < end && cls(k) == U_SB_LOWER) {
                i = k;
                continue;
            }
        }
        return i;
    }
    return end;
}

std::size_t Segmenter::next_sentence(std::size_t at, std::size_t end, bool ascii) {
    std::size_t next = end;
    if (ascii && path_ == Path::fast) {
        next = ascii_sentence(at, end);
    } else {
        auto& it = iterators();
        const auto found = it.use(it.sentences, *rules_.icu_->sentences).following(static_cast<std::int32_t>(at));
        if (found != icu::BreakIterator::DONE) next = std::min(static_cast<std::size_t>(found), end);
    }
    count_chunk_steps(next - at + 1);
    return next;
}

std::size_t Segmenter::next_word(std::size_t at, std::size_t end, bool ascii) {
    if (ascii && path_ == Path::fast) {
        const std::size_t begin = at;
        while (at < end && !ascii_space(text_[at])) ++at;
        while (at < end && ascii_space(text_[at])) ++at;
        count_chunk_steps(at - begin + 1);
        return at;
    }
    auto& it = iterators();
    auto& words = it.use(it.words, *rules_.icu_->words);
    for (auto next = words.following(static_cast<std::int32_t>(at)); next != icu::BreakIterator::DONE; next = words.next()) {
        count_chunk_steps(1);
        const auto p = static_cast<std::size_t>(next);
        if (p >= end) return end;
        if (white_space_before(text_, p) != 0 && white_space_at(text_, p) == 0) return p;
        if (ascii_byte(text_[p - 1]) || ascii_byte(text_[p])) continue;
        if (u_isUAlphabetic(code_point_at(text_, p))) return p;
    }
    return end;
}

bool Segmenter::ends_sentence(std::size_t begin, std::size_t end) const {
    while (end > begin) {
        count_chunk_steps(1);
        const UChar32 c = step_back(text_, end);
        const int cls = u_getIntPropertyValue(c, UCHAR_SENTENCE_BREAK);
        if (is_terminator_sb(cls)) return true;
        if (cls != U_SB_CLOSE && cls != U_SB_SP && cls != U_SB_EXTEND && cls != U_SB_FORMAT) return false;
    }
    return false;
}

std::pair<std::size_t, std::size_t> Segmenter::trimmed(std::size_t begin, std::size_t end) {
    std::size_t first = begin;
    while (first < end) {
        const std::size_t skip = white_space_at(text_, first);
        if (skip == 0) break;
        first += skip;
    }
    if (first >= end) return {end, end};
    std::size_t last = end;
    while (const std::size_t skip = white_space_before(text_, last)) last -= skip;
    count_chunk_steps(first - begin + end - last + 1);
    if (first > begin) first = std::max(begin, grapheme_floor(first));
    if (last < end) last = std::min(end, grapheme_ceil(last));
    return {first, last};
}

}  // namespace homeostat
