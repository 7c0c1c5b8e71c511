#include "store/data/lineage.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>

#include "store/data/query_walk.hpp"
#include "store/pg/row_reader.hpp"
#include "store/pg/text_array.hpp"

namespace homeostat {

namespace {

// Everything a source rests on, by the catalog's own record of dependencies; of views their query as well.
const Statement kRelations{
    "lineage_relations",
    "SELECT c.oid, c.relkind, n.nspname, c.relname, format('%I.%I', n.nspname, c.relname),"
    // Of a partitioned table what its partitions were found to hold.
    " CASE WHEN c.relkind = 'p' THEN (SELECT sum(l.reltuples) FILTER (WHERE l.reltuples >= 0) FROM pg_partition_tree(c.oid) t"
    "   JOIN pg_class l ON l.oid = t.relid WHERE t.isleaf) ELSE nullif(c.reltuples, -1) END,"
    " pg_get_userbyid(c.relowner), c.relkind IN ('r', 'p') AND has_table_privilege(c.oid, 'TRIGGER'),"
    " (SELECT array_agg(a.attname::text ORDER BY u.pos) FROM pg_index i"
    "   CROSS JOIN unnest(i.indkey::int2[]) WITH ORDINALITY AS u(attnum, pos)"
    "   JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = u.attnum"
    "   WHERE i.indrelid = c.oid AND i.indisprimary AND u.pos <= i.indnkeyatts),"
    " CASE WHEN c.relkind = 'p' THEN (SELECT array_agg(format('%I.%I', ln.nspname, l.relname) ORDER BY l.relname)"
    "   FROM pg_partition_tree(c.oid) t JOIN pg_class l ON l.oid = t.relid JOIN pg_namespace ln ON ln.oid = l.relnamespace"
    "   WHERE t.isleaf AND l.relkind = 'r') END,"
    " CASE WHEN c.relkind = 'v' THEN (SELECT r.ev_action::text FROM pg_rewrite r WHERE r.ev_class = c.oid AND r.ev_type = '1') "
    "END"
    " FROM homeostat.relation_closure(to_regclass($1)) AS closure(oid) JOIN pg_class c ON c.oid = closure.oid"
    " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') ORDER BY c.oid"};

const Statement kColumns{"lineage_columns",
                         "SELECT a.attrelid, a.attnum, a.attname, a.attnotnull, quote_ident(a.attname)"
                         " FROM homeostat.relation_closure(to_regclass($1)) AS closure(oid)"
                         " JOIN pg_attribute a ON a.attrelid = closure.oid WHERE NOT a.attisdropped ORDER BY 1, 2"};

// B-trees that order every row: no condition, no expression among the columns.
const Statement kIndexes{"lineage_indexes",
                         "SELECT i.indrelid, (SELECT array_agg(a.attname::text ORDER BY u.pos)"
                         "   FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS u(attnum, pos)"
                         "   JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = u.attnum WHERE u.pos <= i.indnkeyatts)"
                         " FROM homeostat.relation_closure(to_regclass($1)) AS closure(oid)"
                         " JOIN pg_index i ON i.indrelid = closure.oid JOIN pg_class c ON c.oid = i.indexrelid"
                         " JOIN pg_am am ON am.oid = c.relam WHERE am.amname = 'btree' AND i.indisvalid AND i.indpred IS NULL"
                         " AND i.indexprs IS NULL ORDER BY i.indexrelid"};

const Statement kEquality{"lineage_equality",
                          "SELECT DISTINCT ao.amopopr FROM pg_amop ao JOIN pg_am am ON am.oid = ao.amopmethod"
                          " WHERE am.amname = 'btree' AND ao.amopstrategy = 3"};

struct Attribute {
    std::string name;
    bool not_null = false;
};

class Tracer {
public:
    Tracer(Transaction& tx, const std::string& source) : tx_(tx), source_(source) {}

    Lineage run(const std::vector<std::string>& key) {
        read_catalog();
        if (source_oid_ == 0) return std::move(out_);
        if (!rules_.contains(source_oid_) && !unread_) {
            trace_itself(key);
        } else {
            trace_view(key);
        }
        return std::move(out_);
    }

private:
    void read_catalog() {
        const Params source = Params::of(source_);
        const Rows oid = tx_.exec({"lineage_source", "SELECT to_regclass($1)::oid"}, source);
        source_oid_ = oid.null(0, 0) ? 0 : oid.i64(0, 0);
        const Rows relations = tx_.exec(kRelations, source);
        for (int i = 0; i < relations.size(); ++i) read_relation(relations, i);
        const Rows columns = tx_.exec(kColumns, source);
        for (int i = 0; i < columns.size(); ++i) {
            attributes_[columns.i64(i, 0)][columns.i64(i, 1)] = {columns.text(i, 2), columns.boolean(i, 3)};
            const auto table = tables_.find(columns.i64(i, 0));
            if (table != tables_.end()) out_.tables[table->second].quoted[columns.text(i, 2)] = columns.text(i, 4);
        }
        const Rows indexes = tx_.exec(kIndexes, source);
        for (int i = 0; i < indexes.size(); ++i) {
            const auto table = tables_.find(indexes.i64(i, 0));
            if (table != tables_.end()) out_.tables[table->second].indexes.push_back(parse_text_array(indexes.view(i, 1)));
        }
    }

    void read_relation(const Rows& rows, int i) {
        RowReader c(rows, i);
        const long oid = c.integer<long>();
        BaseTable t;
        t.kind = c.view().front();
        t.schema = c.text();
        t.relation = c.text();
        t.name = c.text();
        t.rows = c.maybe_real().value_or(-1);
        t.owner = c.text();
        t.may_trigger = c.boolean();
        t.key = parse_text_array(c.view());
        t.leaves = parse_text_array(c.view());
        if (t.kind == 'v') {
            // The rule is a list of one query.
            std::optional<TreeNode> rule = read_node_tree(c.view());
            if (rule && rule->items.size() == 1) {
                rules_.emplace(oid, std::move(rule->items.front()));
            } else {
                unread_ = true;
            }
            return;
        }
        tables_[oid] = out_.tables.size();
        out_.tables.push_back(std::move(t));
    }

    void trace_itself(const std::vector<std::string>& key) {
        // A materialised view rests on tables too, but holds its rows itself.
        const auto self = tables_.find(source_oid_);
        if (self == tables_.end()) return;
        out_.tables = {BaseTable(out_.tables[self->second])};
        for (const auto& [attnum, a] : attributes_[source_oid_]) {
            if (attnum > 0) out_.columns[a.name] = {ColumnOrigin::Kind::base, {{0, a.name}}, a.not_null};
        }
        BaseTable& t = out_.tables.front();
        if (t.kind == 'r' || t.kind == 'p') t.capture = key;
    }

    void trace_view(const std::vector<std::string>& key) {
        std::set<long> equal;
        const Rows operators = tx_.exec(kEquality);
        for (int i = 0; i < operators.size(); ++i) equal.insert(operators.i64(i, 0));
        QueryWalk walk(rules_, equal);
        if (unread_ || !walk.open(source_oid_)) {
            out_.understood = false;
            for (const auto& [attnum, a] : attributes_[source_oid_]) out_.columns[a.name] = {};
            return;
        }
        std::vector<long> key_columns;
        for (const auto& [attnum, a] : attributes_[source_oid_]) {
            if (attnum <= 0) continue;
            out_.columns[a.name] = origin_of(walk, walk.column(attnum));
        }
        for (const std::string& name : key) key_columns.push_back(attnum_of(name));
        const auto folds = walk.folds(key_columns);
        out_.folds.assign(folds.begin(), folds.end());
        out_.plain_rows = walk.plain_rows();
        for (const auto& [oid, table] : tables_) find_capture(walk, oid, out_.tables[table], key_columns);
        keep_mentioned(walk);
    }

    long attnum_of(const std::string& name) {
        for (const auto& [attnum, a] : attributes_[source_oid_]) {
            if (a.name == name) return attnum;
        }
        return 0;
    }

    const Attribute& attribute(const QueryWalk& walk, const QueryWalk::Cell& cell) {
        return attributes_[walk.mentions()[cell.mention].relation][cell.attno];
    }

    BaseColumn base_column(const QueryWalk& walk, const QueryWalk::Cell& cell) {
        return {tables_.at(walk.mentions()[cell.mention].relation), attribute(walk, cell).name};
    }

    ColumnOrigin origin_of(const QueryWalk& walk, const QueryWalk::Origin& o) {
        ColumnOrigin out;
        const auto add = [&](const QueryWalk::Cell& cell) {
            // What is mentioned and not in the catalog's dependencies cannot be named.
            if (!tables_.contains(walk.mentions()[cell.mention].relation)) return;
            const BaseColumn c = base_column(walk, cell);
            if (std::find(out.columns.begin(), out.columns.end(), c) == out.columns.end()) out.columns.push_back(c);
        };
        for (const QueryWalk::Cell& cell : o.cells) add(cell);
        for (const QueryWalk::Cell& cell : o.reads) add(cell);
        out.kind = o.computed            ? ColumnOrigin::Kind::computed
                   : o.cells.size() == 1 ? ColumnOrigin::Kind::base
                                         : ColumnOrigin::Kind::several;
        out.not_null = !o.computed && std::all_of(o.cells.begin(), o.cells.end(), [&](const QueryWalk::Cell& cell) {
            return !walk.mentions()[cell.mention].nullable && attribute(walk, cell).not_null;
        });
        return out;
    }

    // Every mention of the table has to lead to the key, and by the same columns.
    void find_capture(QueryWalk& walk, long oid, BaseTable& table, const std::vector<long>& key) {
        std::optional<std::vector<std::string>> all;
        for (std::size_t m = 0; m < walk.mentions().size(); ++m) {
            const QueryWalk::Mention& mention = walk.mentions()[m];
            if (mention.relation != oid) continue;
            for (const long attno : walk.joined(m)) {
                const std::string& name = attributes_[oid][attno].name;
                if (std::find(table.joined.begin(), table.joined.end(), name) == table.joined.end()) table.joined.push_back(name);
            }
            std::vector<std::string> columns;
            for (const long attnum : key) {
                const auto column = walk.column_leading_to(m, walk.column(attnum));
                if (column) columns.push_back(attributes_[oid][*column].name);
            }
            if (columns.size() != key.size()) {
                const std::string& spread = mention.spread_around.empty() ? mention.spread : mention.spread_around;
                table.obstacle = spread.empty() ? "" : fmt::format("{} lets a change of one row reach other documents", spread);
                columns.clear();
            } else if (all && *all != columns && !all->empty()) {
                table.obstacle = "it is read more than once, with different columns leading to the key";
                columns.clear();
            }
            all = all && all->empty() ? *all : columns;
        }
        if (all && (table.kind == 'r' || table.kind == 'p')) table.capture = *all;
    }

    // A materialised view that a view reads holds rows; what it was made from is not read.
    void keep_mentioned(const QueryWalk& walk) {
        std::set<std::size_t> kept;
        for (const QueryWalk::Mention& m : walk.mentions()) {
            if (const auto t = tables_.find(m.relation); t != tables_.end()) kept.insert(t->second);
        }
        std::map<std::size_t, std::size_t> moved;
        std::vector<BaseTable> tables;
        for (const std::size_t old : kept) {
            moved[old] = tables.size();
            tables.push_back(std::move(out_.tables[old]));
        }
        out_.tables = std::move(tables);
        for (auto& [name, origin] : out_.columns) {
            for (BaseColumn& c : origin.columns) c.table = moved.at(c.table);
        }
    }

    Transaction& tx_;
    const std::string& source_;
    long source_oid_ = 0;
    bool unread_ = false;
    ViewRules rules_;
    std::map<long, std::size_t> tables_;
    std::map<long, std::map<long, Attribute>> attributes_;
    Lineage out_;
};

}  // namespace

Result<Lineage> trace_source(Transaction& tx, const std::string& source, const std::vector<std::string>& key) {
    return guarded([&] { return Tracer(tx, source).run(key); });
}

}  // namespace homeostat
