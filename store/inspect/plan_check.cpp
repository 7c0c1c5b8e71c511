#include "store/inspect/plan_check.hpp"

#include <fmt/format.h>

#include <array>
#include <nlohmann/json.hpp>

#include "store/data/sql_fragments.hpp"

namespace homeostat {

namespace {

constexpr std::array<std::string_view, kSourceStatements> kNames{"first page", "next page", "compare", "look-up"};

// Partitions are not left out for the NULLs that stand for the parameters, but for what a view's own conditions say.
constexpr std::string_view kGeneric =
    "SET LOCAL plan_cache_mode = force_generic_plan; SET LOCAL enable_partition_pruning = off;"
    " SET LOCAL constraint_exclusion = on";

constexpr std::string_view kOnlyIndexes =
    "SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off; SET LOCAL enable_hashjoin = off;"
    " SET LOCAL enable_mergejoin = off; SET LOCAL enable_hashagg = off; SET LOCAL enable_bitmapscan = off";

struct Asked {
    SourceStatement statement;
    std::string sql;
    std::size_t parameters;
};

std::vector<Asked> statements_of(const SourceShape& source, std::int64_t slice) {
    const std::size_t k = source.key.size();
    const std::string offset = std::to_string(slice - 1);
    const std::string row = source.key_row("s");
    const std::string after = fmt::format("{} > {}", row, parameter_row(source, 1));
    const std::string between = fmt::format("{} AND {} <= {}", after, row, parameter_row(source, static_cast<int>(k) + 1));
    return {{SourceStatement::first_page, slice_end_sql(source, "true", offset), 0},
            {SourceStatement::next_page, slice_end_sql(source, after, offset), k},
            {SourceStatement::compare, slice_rows_sql(source, between, source.version == VersionKind::hash), 2 * k},
            {SourceStatement::look_up, rows_by_key_sql(source), k}};
}

std::string string_at(const nlohmann::json& node, const char* name) {
    const auto it = node.find(name);
    return it != node.end() && it->is_string() ? it->get<std::string>() : "";
}

double number_at(const nlohmann::json& node, const char* name) {
    const auto it = node.find(name);
    return it != node.end() && it->is_number() ? it->get<double>() : 0;
}

// The key of a look-up comes from the list of keys, which the plan scans as a function.
bool names_key(const std::string& condition, bool look_up) {
    return look_up ? condition.find(".k1") != std::string::npos : condition.find("$1") != std::string::npos;
}

void add_steps(const nlohmann::json& node, bool look_up, std::vector<PlanStep>& out) {
    PlanStep step;
    step.what = string_at(node, "Node Type");
    step.schema = string_at(node, "Schema");
    step.relation = string_at(node, "Relation Name");
    step.index = string_at(node, "Index Name");
    step.rows = number_at(node, "Plan Rows");
    // What a foreign server is asked is as good as an index: it is the other side's to find.
    const std::string condition =
        step.what == "Foreign Scan" ? string_at(node, "Remote SQL") : string_at(node, "Index Cond") + string_at(node, "TID Cond");
    const bool remote = step.what == "Foreign Scan";
    step.sought = remote ? condition.find(" WHERE ") != std::string::npos : !condition.empty();
    step.by_parameter = remote ? condition.find('$') != std::string::npos : names_key(condition, look_up);
    const auto below = node.find("Plans");
    if (below != node.end() && !below->empty()) step.input = number_at(below->front(), "Plan Rows");
    out.push_back(std::move(step));
    if (below == node.end()) return;
    for (const nlohmann::json& child : *below) add_steps(child, look_up, out);
}

class Asker {
public:
    Asker(Transaction& tx, const SourceShape& source) : tx_(tx), source_(source) {}

    std::vector<StatementPlan> ask(const std::vector<Asked>& all) {
        std::vector<StatementPlan> out;
        for (const Asked& asked : all) {
            const bool look_up = asked.statement == SourceStatement::look_up;
            const std::string name = fmt::format("homeostat_validate_{}", static_cast<int>(asked.statement));
            tx_.exec(fmt::format("PREPARE {} AS {}", name, asked.sql));
            std::string values;
            for (std::size_t i = 0; i < asked.parameters; ++i) values += i == 0 ? "NULL" : ", NULL";
            if (!values.empty()) values = "(" + values + ")";
            const Rows rows = tx_.exec(fmt::format("EXPLAIN (VERBOSE, FORMAT JSON) EXECUTE {}{}", name, values));
            tx_.exec(fmt::format("DEALLOCATE {}", name));
            const auto json = nlohmann::json::parse(rows.view(0, 0));
            const auto& top = json.at(0).at("Plan");
            StatementPlan plan{asked.statement, number_at(top, "Total Cost"), {}};
            add_steps(top, look_up, plan.steps);
            out.push_back(std::move(plan));
        }
        return out;
    }

    double rows() {
        const Rows answer = tx_.exec(fmt::format("EXPLAIN (FORMAT JSON) SELECT 1 FROM {} s", source_.relation));
        const auto json = nlohmann::json::parse(answer.view(0, 0));
        return number_at(json.at(0).at("Plan"), "Plan Rows");
    }

private:
    Transaction& tx_;
    const SourceShape& source_;
};

}  // namespace

std::string_view to_string(SourceStatement s) noexcept { return kNames[static_cast<std::size_t>(s)]; }

Result<SourcePlans> explain_source(Transaction& tx, const SourceShape& source, std::int64_t slice) {
    return guarded([&] {
        const std::vector<Asked> all = statements_of(source, slice);
        Transaction& reading = tx.source(source.reader);
        Asker asker(reading, source);
        SourcePlans out;
        out.rows = asker.rows();
        // Going back to the savepoint takes the settings back too.
        reading.exec("SAVEPOINT explain_source");
        reading.exec(kGeneric);
        out.natural = asker.ask(all);
        reading.exec(kOnlyIndexes);
        out.indexed = asker.ask(all);
        reading.exec("ROLLBACK TO SAVEPOINT explain_source");
        reading.exec("RELEASE SAVEPOINT explain_source");
        return out;
    });
}

}  // namespace homeostat
