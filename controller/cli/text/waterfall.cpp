#include "controller/cli/text/waterfall.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "controller/cli/text/figures.hpp"
#include "controller/cli/text/output.hpp"
#include "store/pg/timestamps.hpp"

namespace homeostat {

namespace {

using std::chrono::microseconds;

// Two blanks, name, length, bar: 80 together.
constexpr std::size_t kName = 38;
constexpr std::size_t kBar = 27;
constexpr std::size_t kDeepest = 8;   // levels that are set in
constexpr std::size_t kAlike = 4;     // of one name below one span, before the others are one line
constexpr int kWhile = 20;            // a statement that took this part of the whole is drawn by itself
constexpr std::size_t kFailed = 4;    // of those, more that have failed
constexpr std::size_t kMostLines = 60;

// As many letters as there is room for.
std::string fit(const std::string& text, std::size_t width) {
    std::string out;
    std::size_t letters = 0;
    for (const char c : text) {
        if ((static_cast<unsigned char>(c) & 0xC0U) != 0x80U && letters++ == width) {
            while (!out.empty() && (static_cast<unsigned char>(out.back()) & 0xC0U) == 0x80U) out.pop_back();
            if (!out.empty()) out.back() = '~';
            return out;
        }
        out += c;
    }
    return out + std::string(width - letters, ' ');
}

class Picture {
public:
    Picture(const std::vector<KeptSpan>& spans, bool all) : spans_(spans), all_(all) {
        std::map<std::string, std::size_t> places;
        for (std::size_t i = 0; i < spans.size(); ++i) places.emplace(spans[i].id, i);
        for (std::size_t i = 0; i < spans.size(); ++i) {
            const auto parent = places.find(spans[i].parent);
            // Also where its parent was not kept; and one that is its own can be nobody's.
            const bool top = spans[i].parent.empty() || parent == places.end() || parent->second == i;
            (top ? tops_ : below_[parent->second]).push_back(i);
        }
        begin_ = spans.front().start;
        end_ = spans.front().end();
        for (const KeptSpan& s : spans) {
            begin_ = std::min(begin_, s.start);
            end_ = std::max(end_, s.end());
        }
    }

    void draw(std::ostream& out) {
        const std::string length = span_length(whole());
        out << fmt::format("  {}{:>10}  0{:>{}}\n", fit("SPAN", kName), "TOOK", length, kBar - 1);
        level(tops_, 0);
        const std::size_t shown = all_ ? lines_.size() : std::min(lines_.size(), kMostLines);
        for (std::size_t i = 0; i < shown; ++i) out << lines_[i] << '\n';
        if (shown < lines_.size())
            out << fmt::format("  {}; --all draws them\n",
                               counted(static_cast<std::int64_t>(lines_.size() - shown), "more line"));
    }

private:
    microseconds whole() const { return std::chrono::duration_cast<microseconds>(end_ - begin_); }

    std::string bar(WallTime from, WallTime to, char sign) const {
        const auto total = static_cast<double>(std::max<std::int64_t>(1, whole().count()));
        const auto place = [&](WallTime at) {
            const auto share = static_cast<double>(std::chrono::duration_cast<microseconds>(at - begin_).count()) / total;
            return static_cast<std::size_t>(std::clamp(share, 0.0, 1.0) * static_cast<double>(kBar));
        };
        const std::size_t first = std::min(place(from), kBar - 1);
        const std::size_t last = std::max(place(to), first + 1);
        return std::string(first, ' ') + std::string(last - first, sign);
    }

    void line(const std::string& name, std::size_t depth, microseconds took, const std::string& drawn) {
        const std::string indent(2 * std::min(depth, kDeepest), ' ');
        lines_.push_back(fmt::format("  {}{:>10}  {}", fit(indent + printable(name), kName), span_length(took), drawn));
    }

    void one(std::size_t i, std::size_t depth) {
        if (!drawn_.insert(i).second) return;  // a ring of parents
        const KeptSpan& s = spans_[i];
        const std::string name = s.error.empty() ? s.name : fmt::format("{} ({})", s.name, s.error);
        line(name, depth, s.took, bar(s.start, s.end(), s.error.empty() ? '#' : '!'));
        if (const auto found = below_.find(i); found != below_.end()) level(found->second, depth + 1);
    }

    static bool is_statement(const KeptSpan& s) { return s.attributes.contains("db.system.name"); }
    // Statements are alike whatever they ask for.
    static std::string kind_of(const KeptSpan& s) { return is_statement(s) ? "statements" : s.name; }

    // Of many alike the first few, and of statements those that took a while.
    bool stands_out(const KeptSpan& s, std::size_t drawn) const {
        return is_statement(s) ? s.took * kWhile >= whole() : drawn < kAlike;
    }

    void level(const std::vector<std::size_t>& members, std::size_t depth) {
        std::map<std::string, std::vector<std::size_t>> alike;
        for (const std::size_t i : members) alike[kind_of(spans_[i])].push_back(i);
        std::map<std::string, std::pair<std::size_t, std::size_t>> seen;  // drawn, and those because they failed
        std::map<std::string, std::vector<std::size_t>> left;
        for (const std::size_t i : members) {
            const KeptSpan& s = spans_[i];
            const std::string kind = kind_of(s);
            const std::vector<std::size_t>& group = alike[kind];
            auto& [drawn, failed] = seen[kind];
            const bool few = group.size() <= (is_statement(s) ? 1 : kAlike + 1);
            if (all_ || few || stands_out(s, drawn)) {
                ++drawn;
                one(i, depth);
            } else if (!s.error.empty() && failed < kFailed) {
                ++failed;
                one(i, depth);
            } else {
                left[kind].push_back(i);
            }
            if (i == group.back() && left.contains(kind)) fold(kind, left[kind], depth);
        }
    }

    // The rest of a name, in one line: how long they took together.
    void fold(const std::string& name, const std::vector<std::size_t>& rest, std::size_t depth) {
        microseconds took{0};
        WallTime from = spans_[rest.front()].start;
        WallTime to = from;
        bool failed = false;
        for (const std::size_t i : rest) {
            took += spans_[i].took;
            from = std::min(from, spans_[i].start);
            to = std::max(to, spans_[i].end());
            failed = failed || !spans_[i].error.empty();
        }
        line(fmt::format("+ {} x {}", rest.size(), name), depth, took, bar(from, to, failed ? '!' : '-'));
    }

    const std::vector<KeptSpan>& spans_;
    const bool all_;
    std::vector<std::size_t> tops_;
    std::map<std::size_t, std::vector<std::size_t>> below_;
    std::set<std::size_t> drawn_;
    std::vector<std::string> lines_;
    WallTime begin_{};
    WallTime end_{};
};

}  // namespace

std::string span_length(microseconds length) {
    const auto us = std::max<std::int64_t>(0, length.count());
    const auto seconds = static_cast<double>(us) / 1e6;
    if (us < 1'000) return fmt::format("{} us", us);
    if (us < 100'000) return fmt::format("{:.1f} ms", static_cast<double>(us) / 1e3);
    if (us < 1'000'000) return fmt::format("{} ms", us / 1'000);
    if (seconds < 100) return fmt::format("{:.2f} s", seconds);
    if (seconds < 6'000) return fmt::format("{:.0f} min {:02.0f} s", std::floor(seconds / 60), std::fmod(seconds, 60));
    return fmt::format("{:.1f} h", seconds / 3'600);
}

std::string exact_time(WallTime time) {
    const std::string text = format_timestamp(time);  // in microseconds
    constexpr std::size_t kToMillis = 23;
    return text.size() > kToMillis ? text.substr(0, kToMillis) + "Z" : text;
}

void draw_waterfall(std::ostream& out, const std::vector<KeptSpan>& spans, bool all) {
    if (!spans.empty()) Picture(spans, all).draw(out);
}

}  // namespace homeostat
