#include "reconcilers/embed/sentencepiece.hpp"

#include <unicode/normalizer2.h>
#include <unicode/unistr.h>

#include <algorithm>

namespace homeostat {
namespace {

constexpr char32_t kSpace = 0x2581;  // how the vocabulary writes U+0020
constexpr std::uint32_t kRoot = 0;   // no edge leads to the root, so it doubles as "no such child"

std::uint64_t edge(std::uint32_t node, char32_t symbol) {
    return (static_cast<std::uint64_t>(node) << 32) | static_cast<std::uint64_t>(symbol);
}

std::u32string to_code_points(const icu::UnicodeString& s) {
    std::u32string out;
    out.reserve(static_cast<std::size_t>(s.length()) + 1);
    for (std::int32_t i = 0; i < s.length(); i = s.moveIndex32(i, 1)) out.push_back(static_cast<char32_t>(s.char32At(i)));
    return out;
}

std::string_view readable_prefix(std::string_view text) {
    if (text.size() <= SentencePiece::kMaxBytes) return text;
    std::size_t end = SentencePiece::kMaxBytes;
    for (int i = 0; i < 3 && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U; ++i) --end;
    return text.substr(0, end);
}

std::u32string nfkc(std::string_view text) {
    const bool ascii = std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
    if (ascii) return {text.begin(), text.end()};
    UErrorCode status = U_ZERO_ERROR;
    const icu::Normalizer2* normalizer = icu::Normalizer2::getNFKCInstance(status);
    const auto source = icu::UnicodeString::fromUTF8(icu::StringPiece(text.data(), static_cast<std::int32_t>(text.size())));
    // Without its data ICU cannot normalise; the text as it stands is then the best reading there is.
    if (U_FAILURE(status)) return to_code_points(source);
    icu::UnicodeString normal = normalizer->normalize(source, status);
    return to_code_points(U_FAILURE(status) ? source : normal);
}

// The text as the vocabulary spells it, with a space in front; empty for an empty text.
std::u32string spell(std::string_view text) {
    std::u32string symbols = nfkc(readable_prefix(text));
    if (symbols.empty()) return symbols;
    std::replace(symbols.begin(), symbols.end(), U' ', kSpace);
    symbols.insert(symbols.begin(), kSpace);
    return symbols;
}

}  // namespace

// Best sums and the pieces that reach them, for every position of the segment at hand; reused from segment to segment.
struct SentencePiece::Lattice {
    std::vector<double> best;
    std::vector<std::int32_t> piece;
    std::vector<std::int32_t> path;  // of the segment, last piece first
};

SentencePiece::SentencePiece(const std::vector<Piece>& pieces, std::size_t reserved) : nodes_(1), lengths_(pieces.size(), 1) {
    for (std::size_t id = reserved; id < pieces.size(); ++id) {
        const std::u32string symbols = to_code_points(icu::UnicodeString::fromUTF8(pieces[id].text));
        if (symbols.empty()) continue;
        std::uint32_t node = kRoot;
        for (const char32_t symbol : symbols) {
            const auto [at, added] = children_.try_emplace(edge(node, symbol), static_cast<std::uint32_t>(nodes_.size()));
            if (added) nodes_.emplace_back();
            node = at->second;
        }
        nodes_[node] = {static_cast<std::int32_t>(id), pieces[id].score};
        lengths_[id] = static_cast<std::uint8_t>(symbols.size());
    }
}

std::uint32_t SentencePiece::child(std::uint32_t node, char32_t symbol) const {
    const auto at = children_.find(edge(node, symbol));
    return at == children_.end() ? kRoot : at->second;
}

// Two habits of the original are kept, because ids have to agree: a sum of exactly 0 counts as "not reached yet", and a position
// that no piece reaches still may begin one.
void SentencePiece::segment(std::u32string_view symbols, double& total, Lattice& lattice) const {
    const std::size_t n = symbols.size();
    lattice.best.assign(n + 1, 0.0);
    lattice.piece.assign(n + 1, kUnknown);
    lattice.best[0] = total;
    const auto reach = [&](std::size_t end, double sum, std::int32_t id) {
        double& best = lattice.best[end];
        if (best != 0.0 && sum < best) return;
        best = sum;
        lattice.piece[end] = id;
    };
    for (std::size_t start = 0; start < n; ++start) {
        bool known = false;
        std::uint32_t node = kRoot;
        for (std::size_t i = start; i < n; ++i) {
            node = child(node, symbols[i]);
            if (node == kRoot) break;
            if (nodes_[node].id < 0) continue;
            known = true;
            reach(i + 1, lattice.best[start] + nodes_[node].score, nodes_[node].id);
        }
        if (!known) reach(start + 1, lattice.best[start], kUnknown);
    }
    total = lattice.best[n];
    lattice.path.clear();
    for (std::size_t at = n; at > 0;) {
        const std::int32_t id = lattice.piece[at];
        lattice.path.push_back(id);
        at -= std::min<std::size_t>(at, lengths_[static_cast<std::size_t>(id)]);
    }
}

// No piece holds a space anywhere but in front, so every path goes through every space: words are solved one by one, and the rest
// of a long text need not be read once there are enough ids.
std::vector<std::int32_t> SentencePiece::encode(std::string_view text, std::size_t limit) const {
    const std::u32string symbols = spell(text);
    const std::u32string_view all = symbols;
    std::vector<std::int32_t> ids;
    Lattice lattice;
    double total = 0;
    for (std::size_t start = 0; start < all.size() && ids.size() < limit;) {
        const std::size_t end = std::min(all.find(kSpace, start + 1), all.size());
        segment(all.substr(start, end - start), total, lattice);
        for (auto id = lattice.path.rbegin(); id != lattice.path.rend(); ++id) {
            if (*id == kUnknown && !ids.empty() && ids.back() == kUnknown) continue;
            ids.push_back(*id);
        }
        start = end;
    }
    if (ids.size() > limit) ids.resize(limit);
    return ids;
}

}  // namespace homeostat
