#include "reconcilers/inspect/validation.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "reconcilers/factory/chunk_programs.hpp"
#include "store/data/drift.hpp"

namespace homeostat {

namespace {

constexpr const char* kNoRight = "NoRight";
constexpr std::array<std::string_view, 3> kSeverities{"note", "warning", "error"};

std::string key_names(const SourceFacts& f) {
    std::string out;
    for (const std::string& name : f.spec.key) out += (out.empty() ? "" : ", ") + name;
    return out;
}

std::string key_list(const SourceFacts& f) {
    std::string out;
    for (const ColumnShape& c : f.shape.key) out += (out.empty() ? "" : ", ") + c.quoted;
    return out;
}

bool stored(const SourceFacts& f) { return f.shape.kind == 'r' || f.shape.kind == 'p' || f.shape.kind == 'm'; }
bool large(const SourceFacts& f) { return f.plans.rows > static_cast<double>(f.slice); }

template <class F>
void append(std::vector<Remark>& to, F&& judged) {
    for (Remark& r : judged) to.push_back(std::move(r));
}

void judge_sample(const SourceFacts& f, std::vector<Remark>& out) {
    if (!f.sample.key) return;
    const KeySample& k = *f.sample.key;
    if (k.repeated > 0) {
        out.push_back({Severity::error,
                       "KeyRepeated",
                       fmt::format("{} of {} rows that were looked at share their key ({}) with another; two rows cannot be one "
                                   "document. Name columns in key that identify one row",
                                   k.repeated, k.rows, key_names(f)),
                       {}});
    }
    if (k.without_key > 0) {
        out.push_back(
            {Severity::warning,
             "KeyNull",
             fmt::format("{} of {} rows that were looked at have NULL in the key ({}); they cannot be documents and are "
                         "left out",
                         k.without_key, k.rows, key_names(f)),
             {}});
    }
}

void judge_collation(const KeyCollation& c, std::vector<Remark>& out) {
    if (!c.recorded.empty() && !c.actual.empty() && c.recorded != c.actual) {
        out.push_back({Severity::warning,
                       "KeyCollationVersion",
                       fmt::format("key column \"{}\" is ordered by collation {}, made with version {} of its library where the "
                                   "server now has {}: indexes may be in the wrong order, and a sweep walks them. Rebuild the "
                                   "indexes on it (REINDEX), then refresh the recorded version",
                                   c.column, c.collation, c.recorded, c.actual),
                       {}});
    }
    if (!c.deterministic) {
        out.push_back({Severity::note,
                       "KeyCollationFolds",
                       fmt::format("key column \"{}\" has collation {}, by which different texts are equal: keys that differ "
                                   "only in what it ignores are one document",
                                   c.column, c.collation),
                       {}});
    }
}

}  // namespace

std::string_view to_string(Severity s) noexcept { return kSeverities[static_cast<std::size_t>(s)]; }

std::size_t SourceReport::count(Severity s) const noexcept {
    return static_cast<std::size_t>(
        std::count_if(remarks.begin(), remarks.end(), [&](const Remark& r) { return r.severity == s; }));
}

std::string quoted_name(std::string_view name) {
    std::string out = "\"";
    for (const char c : name) {
        if (c == '"') out += c;
        out += c;
    }
    return out + '"';
}

std::vector<Remark> judge_columns(const PipelineSpec& spec, const UsedColumns& used) {
    const std::string what = fmt::format("pipeline \"{}\"", spec.name);
    if (used.described.empty()) {
        return {{Severity::error,
                 "SourceGone",
                 fmt::format("{}: its source {} is gone; restore it or edit the pipeline", what, spec.source),
                 {}}};
    }
    std::vector<Remark> out;
    if (!used.readable) {
        return {{Severity::error,
                 kNoRight,
                 fmt::format("{}: role \"{}\" may not read {}", what, used.role, used.described),
                 {fmt::format("GRANT SELECT ON {} TO {};", spec.source, quoted_name(used.role))}}};
    }
    if (spec.key.empty()) {
        out.push_back({Severity::error,
                       "NoKey",
                       fmt::format("{}: no key is declared and {} has none; name the columns that identify a document in key",
                                   what, used.described),
                       {}});
    }
    for (const UsedColumn& c : used.columns) {
        if (!c.exists) {
            out.push_back({Severity::error,
                           "ColumnMissing",
                           fmt::format("{}: {} column \"{}\" is not in {}{}", what, c.role, c.name, used.described, c.meant),
                           {}});
        } else if (!c.readable) {
            out.push_back(
                {Severity::error,
                 kNoRight,
                 fmt::format("{}: role \"{}\" may not read {} column \"{}\" of {}", what, used.role, c.role, c.name,
                             used.described),
                 {fmt::format("GRANT SELECT ({}) ON {} TO {};", quoted_name(c.name), spec.source, quoted_name(used.role))}});
        }
    }
    return out;
}

std::vector<Remark> judge_rights(const SourceFacts& f) {
    std::vector<Remark> out;
    if (f.runs.asks || f.used.described.empty()) return out;
    out.push_back(
        {Severity::note, "JudgedFor", fmt::format("rights are judged for role \"{}\", which runs homeostat", f.runs.role), {}});
    for (const MissingRight& m : f.runs.missing) {
        out.push_back(
            {Severity::error,
             kNoRight,
             fmt::format("pipeline \"{}\": role \"{}\", which runs homeostat, lacks {}", f.spec.name, f.runs.role, m.what),
             {m.fix + ";"}});
    }
    return out;
}

std::vector<Remark> judge_key(const SourceFacts& f) {
    std::vector<Remark> out;
    judge_sample(f, out);
    if (!f.shape.unique_key && stored(f) && f.shape.kind != 'm') {
        out.push_back(
            {Severity::note, "KeyUnproven",
             fmt::format("no unique index proves that ({}) names one row of {}: every slice of a sweep counts its keys, "
                         "and two rows with one key stop the pipeline",
                         key_names(f), f.shape.described),
                       // A unique index of a partitioned table has to hold what it is partitioned by.
             f.shape.kind == 'p' ? std::vector<std::string>{}
                                 : std::vector<std::string>{fmt::format("CREATE UNIQUE INDEX CONCURRENTLY ON {} ({});",
                                                                        f.shape.relation, key_list(f))}});
    }
    for (const KeyCollation& c : f.key.collations) judge_collation(c, out);
    if (f.spec.documents && static_cast<double>(*f.spec.documents) > f.plans.rows * 1.1 + 1) {
        out.push_back({Severity::warning,
                       "SourceShort",
                       fmt::format("{} documents are declared and {} has about {:.0f} rows: all of them are embedded, and the "
                                   "condition SourceShort stays until there are more",
                                   *f.spec.documents, f.shape.described, f.plans.rows),
                       {}});
    }
    return out;
}

std::vector<Remark> judge_version(const SourceFacts& f) {
    std::vector<Remark> out;
    if (f.shape.kind == 'f') {
        out.push_back({Severity::note,
                       "ForeignSource",
                       fmt::format("{} is on another server: its rows have no xmin here and no trigger can report a change, so "
                                   "changes are found by paced sweeps alone, each slice fetched over the network",
                                   f.shape.described),
                       {}});
    }
    if (f.shape.kind == 'm' && !f.shape.unique_key) {
        out.push_back({Severity::warning,
                       "RefreshRewrites",
                       fmt::format("{} has no unique index on the key, so it can only be refreshed whole: every row gets a new "
                                   "xmin and the next sweep reads every text. With the index, REFRESH MATERIALIZED VIEW "
                                   "CONCURRENTLY touches only rows that differ",
                                   f.shape.described),
                       {fmt::format("CREATE UNIQUE INDEX CONCURRENTLY ON {} ({});", f.shape.relation, key_list(f))}});
    }
    if (f.shape.version != VersionKind::hash) return out;
    Remark r{
        large(f) ? Severity::warning : Severity::note,
        "VersionByHash",
        fmt::format("a row of {} has no version but a hash of its content, so every sweep reads every text (about {:.0f} rows)",
                    f.shape.described, f.plans.rows),
        {}};
    if (!f.key.version_columns.empty()) {
        r.sentence +=
            fmt::format("; if \"{0}\" changes whenever the row does, name it as version column", f.key.version_columns.front());
        r.proposal = {"versionColumn: " + f.key.version_columns.front()};
    } else if (f.shape.kind == 'v' && f.lineage.understood && f.lineage.plain_rows && !f.lineage.tables.empty() &&
               std::all_of(f.lineage.tables.begin(), f.lineage.tables.end(),
                           [](const BaseTable& t) { return t.kind == 'r' || t.kind == 'p'; })) {
        r.sentence +=
            "; expose one from the rows it is made of, for instance concat_ws(':', a.xmin, b.xmin) AS row_version over the "
            "tables of its FROM, and name it";
        r.proposal = {"versionColumn: row_version"};
    } else {
        r.sentence +=
            "; expose a column that changes whenever the row does (updated_at, kept by a trigger) and name it as version "
            "column";
    }
    out.push_back(std::move(r));
    return out;
}

std::vector<Remark> judge_content(const SourceFacts& f) {
    std::vector<Remark> out;
    if (!f.sample.failure.empty()) {
        out.push_back({Severity::warning,
                       "NotSampled",
                       fmt::format("{} could not be looked at: {}", f.shape.described, f.sample.failure),
                       {}});
    }
    if (f.sample.content && f.sample.content->rows > 0 && f.sample.content->empty * 2 > f.sample.content->rows) {
        out.push_back({Severity::warning,
                       "ContentEmpty",
                       fmt::format("the content is NULL or blank in {} of {} rows that were looked at; such documents have no "
                                   "chunks and are never found. Is it the right column?",
                                   f.sample.content->empty, f.sample.content->rows),
                       {}});
    }
    for (const BaseTable& t : f.lineage.tables) {
        if (t.rows >= 0 || t.kind == 'f') continue;
        out.push_back({Severity::note,
                       "NeverAnalysed",
                       fmt::format("{} was never analysed, so what the planner reckons with here is a guess", t.name),
                       {fmt::format("ANALYZE {};", t.name)}});
    }
    return out;
}

namespace {

bool may_look(const UsedColumns& used) {
    return used.readable &&
           std::all_of(used.columns.begin(), used.columns.end(), [](const UsedColumn& c) { return !c.exists || c.readable; });
}

// Who asks may lack a right that nobody needs: neither who runs homeostat nor who declared it. Then it is this look that cannot
// be had, and nothing is wrong with the pipeline.
bool asks_for_others(const SourceFacts& f) {
    return !f.runs.asks && !f.runs.declares && !f.used.described.empty() && !may_look(f.used);
}

void excuse(const SourceFacts& f, std::vector<Remark>& remarks) {
    std::erase_if(remarks, [](const Remark& r) { return r.code == kNoRight; });
    remarks.push_back({Severity::warning,
                       "NotLooked",
                       fmt::format("role \"{}\" may not read {}, so neither its rows nor its plans were looked at", f.used.role,
                                   f.used.described),
                       {}});
}

}  // namespace

Result<SourceReport> validate_source(Transaction& tx, const PipelineSpec& spec, const ValidateSettings& settings) {
    SourceReport report;
    SourceFacts& f = report.facts;
    f.spec = spec;
    f.slice = settings.slice;
    Result<UsedColumns> used = read_used_columns(tx, spec);
    if (!used) return used.error();
    f.used = *std::move(used);
    Result<ControllerRights> runs = read_controller_rights(tx, spec, f.used);
    if (!runs) return runs.error();
    f.runs = *std::move(runs);
    report.remarks = judge_columns(spec, f.used);
    if (asks_for_others(f)) excuse(f, report.remarks);
    const bool looks = report.remarks.empty();
    append(report.remarks, judge_rights(f));
    if (!looks) return report;
    Result<SourceShape> shape = inspect_source(tx, spec);
    if (!shape) return shape.error();
    f.shape = *std::move(shape);
    if (auto path = guarded([&] { use_operators(tx, f.shape); }); !path) return path.error();
    Result<Lineage> lineage = trace_source(tx, spec.source, spec.key);
    if (!lineage) return lineage.error();
    f.lineage = *std::move(lineage);
    if (const Status noted = note_trigger_rights(tx, f.runs.role, f.lineage); !noted) return noted.error();
    Result<KeyFacts> key = read_key_facts(tx, spec);
    if (!key) return key.error();
    f.key = *std::move(key);
    Result<SourcePlans> plans = explain_source(tx, f.shape, settings.slice);
    if (!plans) return plans.error();
    f.plans = *std::move(plans);
    Result<SourceSample> sample = sample_source(tx, f.shape, f.plans.rows, settings.sample);
    if (!sample) return sample.error();
    f.sample = *std::move(sample);
    report.complete = true;
    append(report.remarks, judge_key(f));
    append(report.remarks, judge_version(f));
    append(report.remarks, judge_plans(f));
    if (const Status known = check_registered(spec.chunker, settings.chunkers); !known)
        report.remarks.push_back({Severity::warning, "ChunkerUnregistered", known.error().message, {}});
    append(report.remarks, judge_content(f));
    append(report.remarks, judge_capture(f));
    report.capture = capture_mappings(f);
    std::vector<Remark> sorted;
    for (const Severity severity : {Severity::error, Severity::warning, Severity::note}) {
        for (Remark& r : report.remarks) {
            if (r.severity == severity) sorted.push_back(std::move(r));
        }
    }
    report.remarks = std::move(sorted);
    return report;
}

}  // namespace homeostat
