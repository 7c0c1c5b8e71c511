#include <array>

#include "reconcilers/chunk/kinds.hpp"
#include "reconcilers/chunk/markdown_line.hpp"
#include "reconcilers/chunk/pieces.hpp"

namespace homeostat {
namespace {

constexpr std::string_view kArrow = " > ";

// The headings in force, outermost first.
class HeadingPath {
public:
    HeadingPath(const ChunkSettings& settings, const SegmentationRules& rules) : settings_(settings), rules_(rules) {}

    // Leaves the headings of this level and below; then `above` is the path, and enter() adds the new one.
    void leave(int level) {
        for (int i = level; i <= 6; ++i) titles_[static_cast<std::size_t>(i - 1)].clear();
    }
    void enter(int level, std::string_view title) { titles_[static_cast<std::size_t>(level - 1)] = shortened(one_line(title)); }

    // The innermost headings that fit a quarter of the size, so that a deep path cannot crowd out the text.
    std::string path() const {
        std::string path;
        for (std::size_t i = titles_.size(); i-- > 0;) {
            if (titles_[i].empty()) continue;
            std::string longer = path.empty() ? titles_[i] : titles_[i] + std::string(kArrow) + path;
            if (prefix_that_fits(longer) < longer.size()) break;
            path = std::move(longer);
        }
        return path;
    }

private:
    std::size_t prefix_that_fits(std::string_view text) const {
        Segmenter segmenter(rules_, text);
        const Measure measure(settings_.unit, segmenter);
        const std::uint64_t budget = measure.of_units(settings_.size) / 4;
        if (budget <= kContextEnd.size()) return 0;
        const std::uint64_t room = budget - kContextEnd.size();
        return measure.fits(0, text.size(), room) ? text.size() : measure.furthest(0, text.size(), room);
    }

    std::string shortened(std::string title) const {
        title.resize(prefix_that_fits(title));
        while (!title.empty() && title.back() == ' ') title.pop_back();
        return title;
    }

    // Of a title of several lines, with single spaces.
    static std::string one_line(std::string_view title) {
        std::string line;
        for (std::size_t at = 0; at < title.size();) {
            if (const std::size_t skip = white_space_at(title, at); skip != 0) {
                if (!line.empty() && line.back() != ' ') line += ' ';
                at += skip;
            } else {
                line += title[at++];
            }
        }
        while (!line.empty() && line.back() == ' ') line.pop_back();
        return line;
    }

    const ChunkSettings& settings_;
    const SegmentationRules& rules_;
    std::array<std::string, 6> titles_;
};

class MarkdownReader {
public:
    MarkdownReader(const ChunkSettings& settings, const SegmentationRules& rules, Segmenter& segmenter)
        : text_(segmenter.text()), headings_(settings, rules), pieces_(settings, rules, segmenter) {}

    std::vector<Chunk> read(std::size_t begin, std::size_t end) {
        for (std::size_t at = front_matter(begin); at < end;) {
            const Line line = line_at(text_, at);
            fence_ != 0 ? in_fence(line) : outside(line);
            at = line.next;
        }
        flush();
        return pieces_.chunks();
    }

private:
    std::string_view of(const Line& line) const { return text_.substr(line.begin, line.end - line.begin); }

    // A block of settings between two lines of dashes before all else, which would read as a rule and a heading.
    std::size_t front_matter(std::size_t begin) {
        const Line first = line_at(text_, begin);
        if (begin != 0 || of(first) != "---") return begin;
        for (Line line = line_at(text_, first.next); line.next > line.begin; line = line_at(text_, line.next)) {
            if (of(line) != "---" && of(line) != "...") continue;
            for (Line l = first; l.begin < line.next; l = line_at(text_, l.next)) pieces_.verbatim(l.begin, l.end);
            pieces_.raise(Rank::paragraph);
            return line.next;
        }
        return begin;
    }

    void in_fence(const Line& line) {
        if (classify(of(line)).kind == LineKind::blank) return pieces_.raise(Rank::sentence);
        pieces_.verbatim(line.begin, line.end);
        if (!closes_fence(of(line), fence_, fence_length_)) return;
        fence_ = 0;
        pieces_.raise(Rank::sentence);
    }

    void outside(const Line& line) {
        const MarkdownLine found = classify(of(line));
        if (found.kind == LineKind::underline && paragraph_end_ > paragraph_begin_) return setext(line, found.level);
        if (found.kind == LineKind::text || (found.kind == LineKind::indented && paragraph_end_ > paragraph_begin_)) {
            return text(line);
        }
        flush();
        in_block_ = found.kind == LineKind::item || found.kind == LineKind::row;
        switch (found.kind) {
            case LineKind::blank: return pieces_.raise(Rank::paragraph);
            case LineKind::heading: return heading(line.begin, line.end, found.level, found.title);
            case LineKind::item: return pieces_.prose(line.begin, line.end, Rank::sentence);
            case LineKind::fence:
                fence_ = found.fence;
                fence_length_ = found.fence_length;
                return pieces_.verbatim(line.begin, line.end, Rank::sentence);
            case LineKind::underline:
            case LineKind::rule: pieces_.raise(Rank::paragraph); [[fallthrough]];
            default: return pieces_.verbatim(line.begin, line.end);
        }
    }

    // A line behind an item or a row continues it and can be no setext heading; others wait for what follows.
    void text(const Line& line) {
        if (in_block_) return pieces_.prose(line.begin, line.end);
        if (paragraph_end_ <= paragraph_begin_) paragraph_begin_ = line.begin;
        paragraph_end_ = line.end;
    }

    void setext(const Line& line, int level) {
        heading(paragraph_begin_, line.end, level, text_.substr(paragraph_begin_, paragraph_end_ - paragraph_begin_));
        paragraph_begin_ = paragraph_end_ = 0;
    }

    void heading(std::size_t begin, std::size_t end, int level, std::string_view title) {
        headings_.leave(level);
        std::string above = headings_.path();
        headings_.enter(level, title);
        pieces_.heading(begin, end, level, std::move(above), headings_.path());
    }

    void flush() {
        for (std::size_t at = paragraph_begin_; at < paragraph_end_;) {
            const Line line = line_at(text_, at);
            pieces_.prose(line.begin, line.end);
            at = line.next;
        }
        paragraph_begin_ = paragraph_end_ = 0;
    }

    std::string_view text_;
    HeadingPath headings_;
    Pieces pieces_;
    std::size_t paragraph_begin_ = 0;  // lines of text that an underline would make a heading
    std::size_t paragraph_end_ = 0;
    bool in_block_ = false;            // a list, table or quote goes on until a blank line
    char fence_ = 0;
    std::size_t fence_length_ = 0;
};

class MarkdownChunker final : public Chunker {
public:
    MarkdownChunker(const ChunkSettings& settings, Rules rules) : settings_(settings), rules_(std::move(rules)) {}

    using Chunker::chunk;
    std::vector<Chunk> chunk(std::string_view document, std::string_view context) const override {
        return cut_in_context(settings_, *rules_, context, [&](const ChunkSettings& left) { return cut(document, left); });
    }

private:
    std::vector<Chunk> cut(std::string_view document, const ChunkSettings& settings) const {
        std::vector<Chunk> chunks;
        Segmenter segmenter(*rules_, document);
        std::pair<std::size_t, std::size_t> range;
        if (fits_one_chunk(settings, segmenter, range, chunks)) return chunks;
        return MarkdownReader(settings, *rules_, segmenter).read(range.first, range.second);
    }

    ChunkSettings settings_;
    Rules rules_;
};

}  // namespace

std::unique_ptr<Chunker> make_markdown(const ChunkSettings& settings, Rules rules) {
    return std::make_unique<MarkdownChunker>(settings, std::move(rules));
}

}  // namespace homeostat
