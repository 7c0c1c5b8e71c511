#include "controller/cli/text/validate_print.hpp"

#include <fmt/core.h>

#include <algorithm>

#include "controller/cli/text/context.hpp"
#include "controller/cli/text/figures.hpp"
#include "controller/cli/text/output.hpp"

namespace homeostat {

namespace {

constexpr std::size_t kWidth = 100;
constexpr std::size_t kMargin = 11;  // behind "  warning  "

std::string kind_text(char kind) {
    switch (kind) {
        case 'r': return "table";
        case 'p': return "partitioned table";
        case 'm': return "materialised view";
        case 'f': return "foreign table";
        case 'v': return "view";
        default: return "relation";
    }
}

std::string_view kind_word(ColumnOrigin::Kind kind) {
    switch (kind) {
        case ColumnOrigin::Kind::base: return "base";
        case ColumnOrigin::Kind::several: return "several";
        case ColumnOrigin::Kind::computed: return "computed";
        case ColumnOrigin::Kind::unknown: break;
    }
    return "unknown";
}

const ColumnOrigin& origin_of(const SourceReport& r, const std::string& column) {
    static const ColumnOrigin none;
    const auto found = r.facts.lineage.columns.find(column);
    return found == r.facts.lineage.columns.end() ? none : found->second;
}

bool not_null(const SourceReport& r, const UsedColumn& c) { return c.not_null || origin_of(r, c.name).not_null; }

std::string origin_text(const SourceReport& r, const std::string& column) {
    const ColumnOrigin& o = origin_of(r, column);
    std::string list;
    for (const BaseColumn& c : o.columns) {
        const BaseTable& t = r.facts.lineage.tables[c.table];
        const auto quoted = t.quoted.find(c.column);
        list += fmt::format("{}{}.{}", list.empty() ? "" : ", ", t.name, quoted == t.quoted.end() ? c.column : quoted->second);
    }
    switch (o.kind) {
        case ColumnOrigin::Kind::computed: return list.empty() ? "computed" : "computed from " + list;
        case ColumnOrigin::Kind::unknown: return "unknown";
        default: return list;
    }
}

std::string version_text(const SourceFacts& f) {
    switch (f.shape.version) {
        case VersionKind::xmin: return "the row's xmin: a sweep reads keys, and text only where a row was written";
        case VersionKind::column:
            return fmt::format("column {}: a sweep reads keys, and text only where it differs",
                               f.spec.version_column.value_or(""));
        case VersionKind::hash: break;
    }
    return "a hash of the content: every sweep reads every text";
}

std::string_view version_word(VersionKind kind) {
    return kind == VersionKind::xmin ? "xmin" : kind == VersionKind::column ? "column" : "hash";
}

std::string proof_text(const SourceFacts& f) {
    return f.key.primary ? "primary key" : f.shape.unique_key ? "unique" : "nothing proves it unique";
}

// What one reads of a table when it changes.
std::string change_text(const SourceReport& r, const BaseTable& t) {
    if (t.kind == 'f' || t.kind == 'm') return "found by a sweep";
    if (t.capture.size() != r.facts.spec.key.size()) return "can only call for a full sweep";
    std::string out;
    for (std::size_t i = 0; i < t.capture.size(); ++i) {
        out += fmt::format("{}{} = {}", out.empty() ? "" : ", ", r.facts.spec.key[i], t.capture[i]);
    }
    return fmt::format("names the document: {}{}", out, t.may_trigger ? "" : " (no right to trigger)");
}

std::string rows_text(double rows) { return rows < 0 ? "?" : count_text(static_cast<std::int64_t>(rows)); }

// The step that says most: what reads a relation, or the first.
std::string plan_text(const StatementPlan& plan) {
    std::string out;
    for (const PlanStep& s : plan.steps) {
        const bool telling = s.what == "Sort" || s.what.find("Aggregate") != std::string::npos || !s.relation.empty();
        if (!telling) continue;
        out += (out.empty() ? "" : " <- ") + s.what;
        if (!s.index.empty()) out += " " + s.index;
        if (s.index.empty() && !s.relation.empty()) out += " " + s.relation;
        if (out.size() > kWidth / 2) break;
    }
    return out.empty() && !plan.steps.empty() ? plan.steps.front().what : out;
}

void print_wrapped(std::ostream& out, const std::string& text) {
    const std::string margin(kMargin, ' ');
    std::size_t column = kMargin;
    std::size_t at = 0;
    while (at < text.size()) {
        const std::size_t end = std::min(text.find(' ', at), text.size());
        if (column > kMargin && column + 1 + (end - at) > kWidth) {
            out << '\n' << margin;
            column = kMargin;
        } else if (column > kMargin) {
            out << ' ';
            ++column;
        }
        out << text.substr(at, end - at);
        column += end - at;
        at = end + 1;
    }
    out << '\n';
}

void print_remarks(std::ostream& out, bool colour, const SourceReport& report) {
    for (const Remark& r : report.remarks) {
        const char* tint = !colour || r.severity == Severity::note ? "" : r.severity == Severity::error ? "\x1b[31m" : "\x1b[33m";
        out << fmt::format("  {}{:<9}{}", tint, to_string(r.severity), *tint == '\0' ? "" : "\x1b[0m");
        print_wrapped(out, printable(r.sentence));
        for (const std::string& line : r.proposal) out << std::string(kMargin + 2, ' ') << printable(line) << '\n';
    }
}

void print_tables(std::ostream& out, bool colour, const SourceReport& report) {
    const SourceFacts& f = report.facts;
    TextTable columns({"USED AS", "COLUMN", "TYPE", "NULL", "COMES FROM"});
    for (const UsedColumn& c : f.used.columns) {
        columns.add({c.role, c.name, c.exists ? c.type : "missing", not_null(report, c) ? "no" : "yes",
                     report.complete ? origin_text(report, c.name) : ""});
    }
    columns.print(out, colour, "  ");
    if (!report.complete) return;
    TextTable tables({"READS", "KIND", "ROWS", "A CHANGE OF IT"});
    for (const BaseTable& t : f.lineage.tables)
        tables.add({t.name, kind_text(t.kind), rows_text(t.rows), change_text(report, t)});
    if (!tables.empty()) tables.print(out, colour, "  ");
    TextTable plans({"STATEMENT", "COST", "PLAN"});
    for (const StatementPlan& p : f.plans.natural) {
        plans.add({to_string(p.statement), count_text(static_cast<std::int64_t>(p.cost)), plan_text(p)});
    }
    plans.print(out, colour, "  ");
}

std::string summary_text(const SourceReport& r) {
    const std::size_t errors = r.count(Severity::error);
    const std::size_t warnings = r.count(Severity::warning);
    const std::string counts = fmt::format("{}, {}, {}", counted(static_cast<std::int64_t>(errors), "error"),
                                           counted(static_cast<std::int64_t>(warnings), "warning"),
                                           counted(static_cast<std::int64_t>(r.count(Severity::note)), "note"));
    return counts + (errors > 0     ? ": it cannot work like this."
                     : warnings > 0 ? ": it works, with what is said above."
                                    : ": it works.");
}

int exit_code(const SourceReport& r) {
    return r.count(Severity::error) > 0 ? kExitFailed : r.count(Severity::warning) > 0 ? kExitDifferences : kExitOk;
}

YamlNode texts(const std::vector<std::string>& all) {
    YamlNode list = YamlNode::list();
    for (const std::string& t : all) list.items.push_back(YamlNode::text(t));
    return list;
}

YamlNode source_node(const SourceReport& r) {
    const SourceFacts& f = r.facts;
    YamlNode source = YamlNode::map();
    source.add("name", YamlNode::text(f.spec.source));
    if (!r.complete) return source;
    source.add("kind", YamlNode::text(kind_text(f.shape.kind)));
    source.add("estimatedRows", YamlNode::number(static_cast<std::int64_t>(f.plans.rows)));
    YamlNode key = YamlNode::map();
    key.add("columns", texts(f.spec.key));
    key.add("primary", YamlNode::boolean(f.key.primary));
    key.add("unique", YamlNode::boolean(f.shape.unique_key));
    source.add("key", std::move(key));
    YamlNode version = YamlNode::map();
    version.add("kind", YamlNode::text(std::string(version_word(f.shape.version))));
    if (f.shape.version == VersionKind::column) version.add("column", YamlNode::text(*f.spec.version_column));
    version.add("readsEveryText", YamlNode::boolean(f.shape.version == VersionKind::hash));
    source.add("version", std::move(version));
    return source;
}

YamlNode columns_node(const SourceReport& r) {
    YamlNode list = YamlNode::list();
    for (const UsedColumn& c : r.facts.used.columns) {
        YamlNode node = YamlNode::map();
        node.add("role", YamlNode::text(c.role));
        node.add("name", YamlNode::text(c.name));
        node.add("exists", YamlNode::boolean(c.exists));
        node.add("type", c.exists ? YamlNode::text(c.type) : YamlNode{});
        node.add("nullable", YamlNode::boolean(!not_null(r, c)));
        const ColumnOrigin& o = origin_of(r, c.name);
        YamlNode origin = YamlNode::map();
        origin.add("kind", YamlNode::text(std::string(kind_word(o.kind))));
        YamlNode from = YamlNode::list();
        for (const BaseColumn& b : o.columns) {
            YamlNode one = YamlNode::map();
            one.add("table", YamlNode::text(r.facts.lineage.tables[b.table].name));
            one.add("column", YamlNode::text(b.column));
            from.items.push_back(std::move(one));
        }
        origin.add("columns", std::move(from));
        node.add("origin", std::move(origin));
        list.items.push_back(std::move(node));
    }
    return list;
}

YamlNode tables_node(const SourceReport& r) {
    YamlNode list = YamlNode::list();
    for (const BaseTable& t : r.facts.lineage.tables) {
        YamlNode node = YamlNode::map();
        node.add("name", YamlNode::text(t.name));
        node.add("kind", YamlNode::text(kind_text(t.kind)));
        node.add("estimatedRows", t.rows < 0 ? YamlNode{} : YamlNode::number(static_cast<std::int64_t>(t.rows)));
        node.add("mayTrigger", YamlNode::boolean(t.may_trigger));
        node.add("namesDocuments", YamlNode::boolean(!t.capture.empty()));
        list.items.push_back(std::move(node));
    }
    return list;
}

YamlNode capture_node(const SourceReport& r) {
    YamlNode list = YamlNode::list();
    for (const CaptureMapping& m : r.capture) {
        YamlNode node = YamlNode::map();
        node.add("table", YamlNode::text(m.table));
        YamlNode key = YamlNode::map();
        for (const auto& [column, base] : m.key) key.add(column, YamlNode::text(base));
        node.add("key", std::move(key));
        list.items.push_back(std::move(node));
    }
    return list;
}

YamlNode statements_node(const SourceReport& r) {
    YamlNode list = YamlNode::list();
    for (const StatementPlan& p : r.facts.plans.natural) {
        YamlNode node = YamlNode::map();
        node.add("statement", YamlNode::text(std::string(to_string(p.statement))));
        node.add("cost", YamlNode::real(p.cost));
        node.add("plan", YamlNode::text(plan_text(p)));
        list.items.push_back(std::move(node));
    }
    return list;
}

YamlNode sample_node(const SourceSample& s) {
    YamlNode node = YamlNode::map();
    if (s.content) {
        node.add("rows", YamlNode::number(s.content->rows));
        node.add("emptyContent", YamlNode::number(s.content->empty));
        node.add("meanBytes", YamlNode::number(s.content->mean_bytes));
        node.add("largestBytes", YamlNode::number(s.content->largest_bytes));
    }
    if (s.key) {
        node.add("keyRows", YamlNode::number(s.key->rows));
        node.add("withoutKey", YamlNode::number(s.key->without_key));
        node.add("repeatedKeys", YamlNode::number(s.key->repeated));
    }
    return node;
}

}  // namespace

void print_report(std::ostream& out, bool colour, const SourceReport& report) {
    const SourceFacts& f = report.facts;
    if (report.complete) {
        const bool guessed = std::any_of(f.lineage.tables.begin(), f.lineage.tables.end(),
                                         [](const BaseTable& t) { return t.rows < 0 && (t.kind == 'r' || t.kind == 'p'); });
        out << fmt::format("Pipeline {}: {}, {} rows by {}, key {} ({})\n", printable(f.spec.name), printable(f.shape.described),
                           rows_text(f.plans.rows), guessed ? "a guess, as it was never analysed" : "estimate",
                           printable(key_text(f.spec.key)), proof_text(f));
        out << fmt::format("  Version: {}\n", version_text(f));
    } else {
        out << fmt::format("Pipeline {}: {}\n", printable(f.spec.name), printable(f.spec.source));
    }
    print_tables(out, colour, report);
    print_remarks(out, colour, report);
    out << fmt::format("{}: {}\n", printable(f.spec.name), summary_text(report));
}

YamlNode report_node(const SourceReport& r) {
    YamlNode node = YamlNode::map();
    node.add("pipeline", YamlNode::text(r.facts.spec.name));
    node.add("source", source_node(r));
    node.add("columns", columns_node(r));
    node.add("tables", tables_node(r));
    node.add("captureFrom", capture_node(r));
    node.add("statements", statements_node(r));
    node.add("sample", sample_node(r.facts.sample));
    YamlNode remarks = YamlNode::list();
    for (const Remark& remark : r.remarks) {
        YamlNode one = YamlNode::map();
        one.add("severity", YamlNode::text(std::string(to_string(remark.severity))));
        one.add("code", YamlNode::text(remark.code));
        one.add("sentence", YamlNode::text(remark.sentence));
        one.add("proposal", texts(remark.proposal));
        remarks.items.push_back(std::move(one));
    }
    node.add("findings", std::move(remarks));
    YamlNode summary = YamlNode::map();
    summary.add("errors", YamlNode::number(static_cast<std::int64_t>(r.count(Severity::error))));
    summary.add("warnings", YamlNode::number(static_cast<std::int64_t>(r.count(Severity::warning))));
    summary.add("notes", YamlNode::number(static_cast<std::int64_t>(r.count(Severity::note))));
    summary.add("exitCode", YamlNode::number(exit_code(r)));
    node.add("summary", std::move(summary));
    return node;
}

}  // namespace homeostat
