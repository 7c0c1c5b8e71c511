// What a change of a table means for the documents of a source: named by it, or found by the next sweep.
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <set>

#include "reconcilers/inspect/validation.hpp"

namespace homeostat {

namespace {

// A plain word as it is; anything else in double quotes. YAML takes some words for something else than text.
std::string yaml_text(const std::string& text) {
    static const std::set<std::string, std::less<>> kNoText{"y", "n", "yes", "no", "true", "false", "on", "off", "null"};
    const bool plain = !text.empty() && text.find_first_not_of("abcdefghijklmnopqrstuvwxyz_0123456789.") == std::string::npos &&
                       (std::islower(static_cast<unsigned char>(text[0])) != 0 || text[0] == '_') && !kNoText.contains(text);
    if (plain) return text;
    std::string out = "\"";
    for (const char c : text) {
        if (static_cast<unsigned char>(c) < 0x20) {
            out += fmt::format("\\x{:02x}", static_cast<unsigned>(c));
            continue;
        }
        if (c == '"' || c == '\\') out += '\\';
        out += c;
    }
    return out + '"';
}

std::string key_of(const BaseTable& t) {
    std::string out;
    for (const std::string& c : t.key) out += (out.empty() ? "" : ", ") + c;
    return out;
}

Remark dirty_only(const BaseTable& t) {
    Remark r{Severity::note, "CaptureMarksOnly", fmt::format("a change of {} cannot name the documents it touches", t.name), {}};
    if (!t.obstacle.empty()) r.sentence += fmt::format(" ({})", t.obstacle);
    r.sentence += ": it can only call for a full sweep";
    if (t.obstacle.empty() && !t.key.empty())
        r.sentence +=
            fmt::format(". Expose its key ({}) as a column of the view where a document belongs to one of its rows", key_of(t));
    return r;
}

}  // namespace

std::vector<CaptureMapping> capture_mappings(const SourceFacts& f) {
    std::vector<CaptureMapping> out;
    if (f.shape.kind != 'v') return out;
    for (const BaseTable& t : f.lineage.tables) {
        if (t.capture.size() != f.spec.key.size()) continue;
        CaptureMapping m{t.name, {}};
        for (std::size_t i = 0; i < t.capture.size(); ++i) m.key.emplace_back(f.spec.key[i], t.capture[i]);
        out.push_back(std::move(m));
    }
    return out;
}

// Whether the declaration has this mapping already.
bool is_declared(const SourceFacts& f, const CaptureMapping& m) {
    return std::any_of(f.spec.capture_from.begin(), f.spec.capture_from.end(), [&](const CaptureBase& base) {
        return base.table == m.table && base.key == StringMap(m.key.begin(), m.key.end());
    });
}

std::vector<Remark> judge_capture(const SourceFacts& f) {
    std::vector<Remark> out;
    if (!f.lineage.understood) {
        out.push_back({Severity::note,
                       "LineageUnknown",
                       fmt::format("what {} makes its columns of could not be read from the catalog, so nothing is proposed for "
                                   "its change feed",
                                   f.shape.described),
                       {}});
        return out;
    }
    for (const BaseTable& t : f.lineage.tables) {
        if (t.kind == 'm') {
            out.push_back({Severity::note,
                           "CaptureByRefresh",
                           fmt::format("materialised view {} changes when it is refreshed, which no trigger sees: {}", t.name,
                                       f.shape.kind == 'm' ? "each refresh is noticed, and a sweep follows" : "a sweep finds it"),
                           {}});
        } else if (t.kind == 'f') {
            if (f.shape.kind == 'v')
                out.push_back(
                    {Severity::note,
                     "CaptureForeign",
                     fmt::format("foreign table {} changes on its own server, where no trigger of ours is: a sweep finds it",
                                 t.name),
                     {}});
        } else {
            if (!t.may_trigger) {
                out.push_back(
                    {Severity::note,
                     "CaptureRight",
                     fmt::format("role \"{}\" may not create triggers on {} (owner {}), so its changes are found by sweeps",
                                 f.runs.role, t.name, t.owner),
                     {fmt::format("GRANT TRIGGER ON {} TO {};", t.name, quoted_name(f.runs.role))}});
            }
            if (t.capture.empty()) out.push_back(dirty_only(t));
        }
    }
    const std::vector<CaptureMapping> mappings = capture_mappings(f);
    if (std::all_of(mappings.begin(), mappings.end(), [&](const CaptureMapping& m) { return is_declared(f, m); })) return out;
    Remark r{Severity::note,
             "CaptureMapping",
             fmt::format("changes of {} can name the documents they touch, with this in the declaration",
                         mappings.size() == 1 ? mappings.front().table : fmt::format("{} tables", mappings.size())),
             {"captureFrom:"}};
    for (const CaptureMapping& m : mappings) {
        r.proposal.push_back("  - table: " + yaml_text(m.table));
        std::string key;
        for (const auto& [column, base] : m.key)
            key += fmt::format("{}{}: {}", key.empty() ? "" : ", ", yaml_text(column), yaml_text(base));
        r.proposal.push_back("    key: {" + key + "}");
    }
    out.push_back(std::move(r));
    return out;
}

}  // namespace homeostat
