// What the planner's plans mean for a sweep, and what would mend them.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "reconcilers/inspect/validation.hpp"

namespace homeostat {

namespace {

constexpr std::size_t kListedPartitions = 24;
constexpr std::size_t kNameBytes = 63;

// Schema and name of a quoted, qualified relation.
std::pair<std::string, std::string> parts_of(const std::string& relation) {
    std::vector<std::string> parts(1);
    bool quoted = false;
    for (std::size_t i = 0; i < relation.size(); ++i) {
        const char c = relation[i];
        if (c == '"' && quoted && i + 1 < relation.size() && relation[i + 1] == '"') {
            parts.back() += relation[++i];
        } else if (c == '"') {
            quoted = !quoted;
        } else if (c == '.' && !quoted) {
            parts.emplace_back();
        } else {
            parts.back() += c;
        }
    }
    if (parts.size() < 2) return {"public", parts.front()};
    return {parts[0], parts[1]};
}

const BaseTable* table_of(const SourceFacts& f, const PlanStep& step) {
    for (const BaseTable& t : f.lineage.tables) {
        if (t.schema == step.schema && t.relation == step.relation) return &t;
        for (const std::string& leaf : t.leaves) {
            if (parts_of(leaf) == std::pair{step.schema, step.relation}) return &t;
        }
    }
    return nullptr;
}

// A partition is read among its like: what counts is the whole.
double relation_rows(const SourceFacts& f, const PlanStep& step) {
    const BaseTable* t = table_of(f, step);
    return std::max(step.rows, t == nullptr ? 0 : t->rows);
}

std::string rows_text(double rows) { return fmt::format("{:.0f} rows", rows); }

bool is_page(SourceStatement s) { return s == SourceStatement::first_page || s == SourceStatement::next_page; }

// Why a statement is slow where `floor` rows are many: "" = it is not.
std::string offence(const SourceFacts& f, const StatementPlan& plan, double floor) {
    for (const PlanStep& step : plan.steps) {
        if (step.what == "Sort" && plan.statement == SourceStatement::first_page && step.input > floor)
            return fmt::format("sorts {}", rows_text(step.input));
        if (step.relation.empty() || step.sought) continue;
        const double rows = relation_rows(f, step);
        const BaseTable* table = table_of(f, step);
        const std::string name = table == nullptr ? step.schema + "." + step.relation : table->name;
        const bool whole = step.what == "Seq Scan" || !is_page(plan.statement);
        if (whole && rows > floor) return fmt::format("reads all {} of {} ({})", rows_text(rows), name, step.what);
    }
    const bool from_key = std::any_of(plan.steps.begin(), plan.steps.end(), [](const PlanStep& s) { return s.by_parameter; });
    if (!from_key && plan.statement != SourceStatement::first_page && f.plans.rows > floor) {
        return plan.statement == SourceStatement::look_up ? "makes the whole source to find a few keys in it"
                                                          : "begins at the first row, whatever the key it goes on from";
    }
    return "";
}

struct Offences {
    std::vector<std::string> sweep;    // "first page sorts 50,000 rows (cost 4321)"
    std::vector<std::string> look_up;
    std::vector<std::string> chosen;   // an index could serve these, and the planner does not want it
    bool slow() const noexcept { return !sweep.empty() || !look_up.empty(); }
};

Offences offences(const SourceFacts& f, double floor) {
    Offences out;
    for (std::size_t i = 0; i < f.plans.natural.size(); ++i) {
        const StatementPlan& plan = f.plans.natural[i];
        const std::string why = offence(f, plan, floor);
        if (why.empty()) continue;
        const bool by_choice = i < f.plans.indexed.size() && offence(f, f.plans.indexed[i], floor).empty();
        auto& list = by_choice ? out.chosen : plan.statement == SourceStatement::look_up ? out.look_up : out.sweep;
        list.push_back(fmt::format("{} {} (cost {:.0f})", to_string(plan.statement), why, plan.cost));
    }
    return out;
}

bool ordered_by(const BaseTable& t, const std::vector<std::string>& columns) {
    return std::any_of(t.indexes.begin(), t.indexes.end(), [&](const std::vector<std::string>& index) {
        return index.size() >= columns.size() && std::equal(columns.begin(), columns.end(), index.begin());
    });
}

std::vector<std::string> create_index(const BaseTable& t, const std::vector<std::string>& columns, bool unique) {
    std::string list;
    for (const std::string& c : columns) list += (list.empty() ? "" : ", ") + t.quoted.at(c);
    if (t.kind != 'p') {
        return {fmt::format("CREATE {}INDEX CONCURRENTLY ON {} ({});", unique ? "UNIQUE " : "", t.name, list)};
    }
    // CONCURRENTLY is not for partitioned tables; an index that every partition has is taken over by the parent's at once.
    std::vector<std::string> out;
    if (t.leaves.size() <= kListedPartitions) {
        for (const std::string& leaf : t.leaves) out.push_back(fmt::format("CREATE INDEX CONCURRENTLY ON {} ({});", leaf, list));
    }
    out.push_back(fmt::format("CREATE INDEX ON {} ({});", t.name, list));
    return out;
}

// The columns of `table` that are the key, in the key's order; empty where one of them is not passed on as it is.
std::vector<std::string> key_in(const SourceFacts& f, std::size_t table) {
    std::vector<std::string> out;
    for (const std::string& name : f.spec.key) {
        const auto origin = f.lineage.columns.find(name);
        if (origin == f.lineage.columns.end()) return {};
        const auto& columns = origin->second.columns;
        if (origin->second.kind != ColumnOrigin::Kind::base && origin->second.kind != ColumnOrigin::Kind::several) return {};
        const auto found = std::find_if(columns.begin(), columns.end(), [&](const BaseColumn& c) { return c.table == table; });
        if (found == columns.end()) return {};
        out.push_back(found->column);
    }
    return out;
}

// Tables that give the key as it is: one, or one a branch of UNION ALL. Nothing where an index on them could not help.
std::optional<std::vector<std::size_t>> key_tables(const SourceFacts& f) {
    if (!f.lineage.understood || !f.lineage.folds.empty()) return std::nullopt;
    std::vector<std::size_t> out;
    for (const std::string& name : f.spec.key) {
        const auto origin = f.lineage.columns.find(name);
        if (origin == f.lineage.columns.end()) return std::nullopt;
        for (const BaseColumn& c : origin->second.columns) {
            if (std::find(out.begin(), out.end(), c.table) == out.end()) out.push_back(c.table);
        }
    }
    for (const std::size_t table : out) {
        if (key_in(f, table).empty() || f.lineage.tables[table].kind == 'f') return std::nullopt;
    }
    if (out.empty()) return std::nullopt;
    return out;
}

void add_new(std::vector<std::string>& to, const std::vector<std::string>& lines) {
    for (const std::string& line : lines) {
        if (std::find(to.begin(), to.end(), line) == to.end()) to.push_back(line);
    }
}

// An index on the key where there is none, and on what joins compare in a table that would still be read whole.
std::vector<std::string> indexes_for(const SourceFacts& f, double floor) {
    std::vector<std::string> out;
    const auto tables = key_tables(f);
    if (!tables) return out;
    const bool itself = f.shape.kind != 'v';
    for (const std::size_t i : *tables) {
        const BaseTable& t = f.lineage.tables[i];
        const auto columns = key_in(f, i);
        if (!ordered_by(t, columns)) add_new(out, create_index(t, columns, itself && !f.shape.unique_key));
    }
    for (const StatementPlan& plan : f.plans.indexed) {
        for (const PlanStep& step : plan.steps) {
            const BaseTable* t = table_of(f, step);
            if (t == nullptr || t->kind == 'f' || step.what != "Seq Scan" || relation_rows(f, step) <= floor) continue;
            for (const std::string& column : t->joined) {
                if (!ordered_by(*t, {column}) &&
                    key_in(f, static_cast<std::size_t>(t - f.lineage.tables.data())) != std::vector{column})
                    add_new(out, create_index(*t, {column}, false));
            }
        }
    }
    return out;
}

// With its suffix no word of SQL is one of these.
bool plain_name(std::string_view name) {
    return name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_") == std::string_view::npos &&
           (name[0] < '0' || name[0] > '9');
}

// Up to and with the dot behind the schema of a quoted, qualified name.
std::size_t schema_length(std::string_view relation) {
    bool quoted = false;
    for (std::size_t i = 0; i < relation.size(); ++i) {
        if (relation[i] == '"') quoted = !quoted;
        if (relation[i] == '.' && !quoted) return i + 1;
    }
    return 0;
}

// Cut between letters, so that the name stays one.
std::string cut_name(std::string name, std::string_view suffix) {
    while (name.size() + suffix.size() > kNameBytes) {
        do {
            const bool follows = (static_cast<unsigned char>(name.back()) & 0xC0U) == 0x80U;
            name.pop_back();
            if (!follows) break;
        } while (!name.empty());
    }
    return name.append(suffix);
}

std::string why_no_index(const SourceFacts& f) {
    if (f.shape.kind == 'f') return "the table is on another server, where the index would have to be";
    if (!f.lineage.understood) return "where the key comes from is not known";
    if (!f.lineage.folds.empty())
        return fmt::format("there is {} between the view's rows and the tables'", fmt::join(f.lineage.folds, " and "));
    if (!key_tables(f)) return "the key is no column of one table as it stands";
    return "the indexes it could use are there";
}

std::string slow_sentence(const SourceFacts& f, const std::vector<std::string>& what, bool sweep) {
    const double slices = std::ceil(std::max(1.0, f.plans.rows / static_cast<double>(f.slice)));
    const std::string hurts =
        sweep ? fmt::format("A sweep does this for each slice of {} keys, about {:.0f} times", f.slice, slices)
              : "Every batch that is healed does this";
    return fmt::format("{} cannot go by an index: {}. {}", sweep ? "the sweep" : "reading documents by key",
                       fmt::join(what, "; "), hurts);
}

Remark slow_remark(const SourceFacts& f, Severity severity, const char* code, const std::vector<std::string>& what, bool sweep) {
    Remark r{severity, code, "", indexes_for(f, severity == Severity::note ? -1 : static_cast<double>(f.slice))};
    r.sentence = slow_sentence(f, what, sweep);
    if (severity == Severity::note)
        r.sentence =
            fmt::format("no index serves {}. With about {:.0f} rows that is of no account; with more than a slice ({}) it is",
                        sweep ? "the key order of the sweep" : "documents read by key", f.plans.rows, f.slice);
    if (!r.proposal.empty()) return r;
    const bool rewritable = f.lineage.folds == std::vector<std::string>{"WITH"};
    r.sentence +=
        fmt::format(". An index does not help, because {}: {}keep the rows in a materialised view, and name that as source",
                    why_no_index(f), rewritable ? "write it as a subquery, or " : "");
    r.proposal = materialisation(f);
    return r;
}

}  // namespace

std::vector<std::string> materialisation(const SourceFacts& f) {
    const std::string name = cut_name(parts_of(f.shape.relation).second, "_documents");
    const std::string made =
        f.shape.relation.substr(0, schema_length(f.shape.relation)) + (plain_name(name) ? name : quoted_name(name));
    std::string columns;
    std::vector<std::string> seen;
    for (const UsedColumn& c : f.used.columns) {
        if (std::find(seen.begin(), seen.end(), c.name) != seen.end()) continue;
        seen.push_back(c.name);
        columns += (columns.empty() ? "" : ", ") + c.quoted;
    }
    std::string key;
    for (const ColumnShape& c : f.shape.key) key += (key.empty() ? "" : ", ") + c.quoted;
    return {fmt::format("CREATE MATERIALIZED VIEW {} AS SELECT {} FROM {};", made, columns, f.shape.relation),
            fmt::format("CREATE UNIQUE INDEX ON {} ({});", made, key),
            fmt::format("REFRESH MATERIALIZED VIEW CONCURRENTLY {};", made)};
}

std::vector<Remark> judge_plans(const SourceFacts& f) {
    std::vector<Remark> out;
    const auto floor = static_cast<double>(f.slice);
    const Offences found = offences(f, floor);
    if (!found.sweep.empty()) out.push_back(slow_remark(f, Severity::warning, "SlowSweep", found.sweep, true));
    if (!found.look_up.empty()) {
        Remark r = slow_remark(f, Severity::warning, "SlowLookUp", found.look_up, false);
        if (!out.empty() && out.front().proposal == r.proposal) {
            r = {r.severity,
                 r.code,
                 slow_sentence(f, found.look_up, false) + ". What is proposed for the sweep helps here too",
                 {}};
        }
        out.push_back(std::move(r));
    }
    if (found.slow()) return out;
    if (!found.chosen.empty()) {
        out.push_back(
            {Severity::note,
             "IndexNotChosen",
             fmt::format("an index could serve, and the planner reckons that doing without is cheaper: {}. Where sweeps "
                         "turn out slow, ANALYZE the tables and see whether random_page_cost fits the disks",
                         fmt::join(found.chosen, "; ")),
             {}});
        return out;
    }
    // Nothing is slow yet. What would be, once there are more rows than a slice, shows where whole reads are priced out.
    if (f.plans.rows > floor) return out;
    for (const StatementPlan& plan : f.plans.indexed) {
        const bool sorted = std::any_of(plan.steps.begin(), plan.steps.end(), [](const PlanStep& s) { return s.what == "Sort"; });
        const bool from_key = std::any_of(plan.steps.begin(), plan.steps.end(), [](const PlanStep& s) { return s.by_parameter; });
        if (plan.statement == SourceStatement::next_page && (sorted || !from_key)) {
            out.push_back(slow_remark(f, Severity::note, "SweepWithoutIndex", {}, true));
            return out;
        }
        if (plan.statement == SourceStatement::look_up && !from_key) {
            out.push_back(slow_remark(f, Severity::note, "LookUpWithoutIndex", {}, false));
        }
    }
    return out;
}

}  // namespace homeostat
