#include "store/data/query_walk.hpp"

#include <algorithm>
#include <deque>

namespace homeostat {

namespace {

constexpr std::size_t kBlocks = 2'000;
constexpr int kDepth = 200;

// Of PostgreSQL's nodes: RTEKind, JoinType, SubLinkType, SetOperation.
constexpr long kRelation = 0;
constexpr long kSubquery = 1;
constexpr long kJoin = 2;
constexpr long kWith = 6;
constexpr long kGroup = 9;
constexpr long kLeft = 1;
constexpr long kFull = 2;
constexpr long kRight = 3;
constexpr long kAny = 2;
constexpr long kUnion = 1;
constexpr long kMaterialised = 1;

const TreeNode& bare(const TreeNode& expression) {
    return expression.is("RELABELTYPE") ? bare(expression.at("arg")) : expression;
}

std::string spread_of(const TreeNode& query, bool recursive) {
    if (recursive) return "a recursive query";
    if (query.truth("hasWindowFuncs")) return "a window function";
    if (!query.at("limitCount").nothing() || !query.at("limitOffset").nothing()) return "LIMIT";
    if (query.truth("hasDistinctOn")) return "DISTINCT ON";
    return "";
}

// UNION ALL alone leaves rows as they are.
bool only_appends(const TreeNode& operation) {
    if (!operation.is("SETOPERATIONSTMT")) return true;
    return operation.number("op") == kUnion && operation.truth("all") && only_appends(operation.at("larg")) &&
           only_appends(operation.at("rarg"));
}

}  // namespace

struct QueryWalk::Block {
    const TreeNode* query = nullptr;
    Block* parent = nullptr;
    bool nullable = false;
    bool recursive = false;
    bool fenced = false;  // a WITH that is computed by itself
    std::string spread;
    std::string around;
    std::map<long, std::size_t> mentioned;  // entry of the range table -> mention
    std::map<long, Block*> opened;          // likewise -> what gives its rows
    std::map<const TreeNode*, Block*> inner;  // subqueries of expressions
    std::map<std::string, Block*, std::less<>> with;

    const TreeNode& entry(long index) const {
        static const TreeNode none;
        const auto& entries = query->at("rtable").items;
        if (index < 1 || index > static_cast<long>(entries.size())) return none;
        return entries[static_cast<std::size_t>(index - 1)];
    }

    std::set<std::string> folds() const {
        const TreeNode& q = *query;
        std::set<std::string> out;
        if (!spread.empty()) out.insert(spread);
        // The planner keeps a query that has one to itself, also where it writes the WITH out.
        if (fenced || !q.at("cteList").nothing()) out.insert("WITH");
        if (q.truth("hasAggs") || !q.at("groupClause").nothing() || !q.at("groupingSets").nothing()) out.insert("GROUP BY");
        if (!q.at("distinctClause").nothing()) out.insert("DISTINCT");
        if (!only_appends(q.at("setOperations"))) out.insert("UNION");
        return out;
    }
};

QueryWalk::QueryWalk(const ViewRules& rules, const std::set<long>& equal) : rules_(rules), equal_(equal) {}
QueryWalk::~QueryWalk() = default;

bool QueryWalk::open(long view) {
    const auto rule = rules_.find(view);
    if (rule == rules_.end() || !rule->second.is("QUERY")) return false;
    top_ = expand(rule->second, nullptr, false, "");
    return !failed_;
}

QueryWalk::Block* QueryWalk::expand(const TreeNode& query, Block* parent, bool nullable, const std::string& around,
                                    bool recursive) {
    if (!query.is("QUERY") || blocks_.size() >= kBlocks) {
        failed_ = true;
        return nullptr;
    }
    blocks_.push_back(std::make_unique<Block>());
    Block& block = *blocks_.back();
    block.query = &query;
    block.parent = parent;
    block.nullable = nullable;
    block.recursive = recursive;
    block.spread = spread_of(query, recursive);
    block.around = around;
    bind(block, query.at("setOperations"), nullable);
    bind(block, query.at("jointree"), nullable);
    for (const char* part : {"targetList", "jointree", "havingQual", "limitCount", "limitOffset"}) visit(block, query.at(part));
    collect(block, query.at("jointree"));
    return &block;
}

// Only what the FROM list, its joins and set operations name is read: the table of entries holds more than that.
void QueryWalk::bind(Block& block, const TreeNode& from, bool nullable) {
    if (from.is("RANGETBLREF")) {
        bind_entry(block, from.number("rtindex"), nullable);
    } else if (from.is("FROMEXPR")) {
        for (const TreeNode& item : from.at("fromlist").items) bind(block, item, nullable);
    } else if (from.is("JOINEXPR")) {
        const long type = from.number("jointype");
        bind(block, from.at("larg"), nullable || type == kRight || type == kFull);
        bind(block, from.at("rarg"), nullable || type == kLeft || type == kFull);
    } else if (from.is("SETOPERATIONSTMT")) {
        bind(block, from.at("larg"), nullable);
        bind(block, from.at("rarg"), nullable);
    } else if (!from.nothing()) {
        failed_ = true;
    }
}

void QueryWalk::bind_entry(Block& block, long index, bool nullable) {
    const TreeNode& entry = block.entry(index);
    const std::string around = block.around.empty() ? block.spread : block.around;
    const long kind = entry.number("rtekind");
    if (!entry.is("RANGETBLENTRY") && !entry.is("RTE")) {
        failed_ = true;
    } else if (kind == kRelation) {
        const long relation = entry.number("relid");
        if (const auto rule = rules_.find(relation); rule != rules_.end()) {
            block.opened[index] = expand(rule->second, nullptr, nullable, around);
            return;
        }
        block.mentioned[index] = mentions_.size();
        mentions_.push_back({relation, nullable, &block, block.spread, block.around});
    } else if (kind == kSubquery) {
        block.opened[index] = expand(entry.at("subquery"), &block, nullable, around);
    } else if (kind == kWith) {
        block.opened[index] = bind_with(block, entry, nullable);
    } else {
        visit(block, entry);
    }
}

QueryWalk::Block* QueryWalk::bind_with(Block& block, const TreeNode& entry, bool nullable) {
    Block* owner = &block;
    for (long up = entry.number("ctelevelsup"); up > 0 && owner != nullptr; --up) owner = owner->parent;
    if (owner == nullptr) {
        failed_ = true;
        return nullptr;
    }
    const std::string& name = entry.at("ctename").text;
    if (const auto known = owner->with.find(name); known != owner->with.end()) return known->second;
    for (const TreeNode& with : owner->query->at("cteList").items) {
        if (with.at("ctename").text != name) continue;
        owner->with[name] = nullptr;  // while it is opened it may name itself
        const std::string around = owner->around.empty() ? owner->spread : owner->around;
        Block* opened = expand(with.at("ctequery"), owner, nullable, around, with.truth("cterecursive"));
        if (opened != nullptr) {
            opened->fenced = with.number("cterefcount") > 1 || with.number("ctematerialized") == kMaterialised;
        }
        return owner->with[name] = opened;
    }
    failed_ = true;
    return nullptr;
}

void QueryWalk::visit(Block& block, const TreeNode& node) {
    if (node.is("QUERY")) {
        block.inner[&node] = expand(node, &block, true, block.around.empty() ? block.spread : block.around);
        return;
    }
    for (const TreeNode& item : node.items) visit(block, item);
    for (const auto& [name, field] : node.fields) visit(block, field);
}

// Comparisons that hold for every row: those that stand alone or under AND.
void QueryWalk::collect(Block& block, const TreeNode& condition) {
    if (condition.is("FROMEXPR") || condition.is("JOINEXPR")) {
        collect(block, condition.at("quals"));
        for (const TreeNode& item : condition.at("fromlist").items) collect(block, item);
        collect(block, condition.at("larg"));
        collect(block, condition.at("rarg"));
    } else if (condition.is("BOOLEXPR") && condition.at("boolop").text == "and") {
        for (const TreeNode& item : condition.at("args").items) collect(block, item);
    } else if (condition.is("SUBLINK")) {
        collect_membership(block, condition);
    } else if (condition.is("OPEXPR") && equal_.contains(condition.number("opno"))) {
        const auto& sides = condition.at("args").items;
        if (sides.size() != 2 || !bare(sides[0]).is("VAR") || !bare(sides[1]).is("VAR")) return;
        const bool outer = bare(sides[0]).number("varlevelsup") != bare(sides[1]).number("varlevelsup");
        equate(block, resolve(&block, sides[0], 0), resolve(&block, sides[1], 0), outer);
    }
}

// column IN (SELECT ...)
void QueryWalk::collect_membership(Block& block, const TreeNode& sublink) {
    const TreeNode& test = sublink.at("testexpr");
    const auto inner = block.inner.find(&sublink.at("subselect"));
    if (sublink.number("subLinkType") != kAny || inner == block.inner.end() || inner->second == nullptr) return;
    const auto& sides = test.at("args").items;
    if (!test.is("OPEXPR") || !equal_.contains(test.number("opno")) || sides.size() != 2) return;
    if (!bare(sides[0]).is("VAR") || !bare(sides[1]).is("PARAM")) return;
    equate(block, resolve(&block, sides[0], 0), output(*inner->second, bare(sides[1]).number("paramid"), 0), false);
}

void QueryWalk::equate(Block& block, const Origin& a, const Origin& b, bool outer) {
    if (a.computed || b.computed || a.cells.size() != 1 || b.cells.size() != 1) return;
    equalities_.push_back({a.cells[0], b.cells[0], &block, outer});
}

QueryWalk::Origin QueryWalk::resolve(Block* block, const TreeNode& expression, int depth) {
    const TreeNode& bared = bare(expression);
    if (bared.is("VAR")) {
        for (long up = bared.number("varlevelsup"); up > 0 && block != nullptr; --up) block = block->parent;
        if (block != nullptr) return entry_column(*block, bared.number("varno"), bared.number("varattno"), depth + 1);
        return {.cells = {}, .reads = {}, .computed = true};
    }
    Origin out;
    out.computed = true;
    read_all(*block, bared, out, depth + 1);
    return out;
}

QueryWalk::Origin QueryWalk::entry_column(Block& block, long index, long attno, int depth) {
    Origin unknown;
    unknown.computed = true;
    if (depth > kDepth || attno == 0) return unknown;
    if (const auto m = block.mentioned.find(index); m != block.mentioned.end()) {
        return {.cells = {{m->second, attno}}, .reads = {}, .computed = false};
    }
    if (const auto opened = block.opened.find(index); opened != block.opened.end()) {
        return opened->second == nullptr ? unknown : output(*opened->second, attno, depth + 1);
    }
    const TreeNode& entry = block.entry(index);
    const long kind = entry.number("rtekind");
    if (kind != kJoin && kind != kGroup) return unknown;
    const auto& columns = entry.at(kind == kJoin ? "joinaliasvars" : "groupexprs").items;
    if (attno < 1 || attno > static_cast<long>(columns.size())) return unknown;
    return resolve(&block, columns[static_cast<std::size_t>(attno - 1)], depth + 1);
}

QueryWalk::Origin QueryWalk::output(Block& block, long number, int depth) {
    if (depth > kDepth) return {.cells = {}, .reads = {}, .computed = true};
    if (passed_ != nullptr) passed_->insert(&block);
    Origin out;
    if (!block.query->at("setOperations").nothing()) {
        for (const auto& [index, branch] : block.opened) {
            const Origin one = entry_column(block, index, number, depth + 1);
            out.cells.insert(out.cells.end(), one.cells.begin(), one.cells.end());
            out.reads.insert(one.reads.begin(), one.reads.end());
            out.computed = out.computed || one.computed;
        }
        return out;
    }
    for (const TreeNode& target : block.query->at("targetList").items) {
        if (target.number("resno") == number && !target.truth("resjunk")) return resolve(&block, target.at("expr"), depth + 1);
    }
    out.computed = true;
    return out;
}

void QueryWalk::read_all(Block& block, const TreeNode& node, Origin& into, int depth) {
    if (depth > kDepth) return;
    if (node.is("QUERY")) {
        const auto inner = block.inner.find(&node);
        if (inner == block.inner.end() || inner->second == nullptr) return;
        const Origin one = output(*inner->second, 1, depth + 1);
        into.reads.insert(one.cells.begin(), one.cells.end());
        into.reads.insert(one.reads.begin(), one.reads.end());
        return;
    }
    if (node.is("VAR")) {
        const Origin one = resolve(&block, node, depth + 1);
        into.reads.insert(one.cells.begin(), one.cells.end());
        into.reads.insert(one.reads.begin(), one.reads.end());
        return;
    }
    for (const TreeNode& item : node.items) read_all(block, item, into, depth + 1);
    for (const auto& [name, field] : node.fields) read_all(block, field, into, depth + 1);
}

QueryWalk::Origin QueryWalk::column(long attno) {
    if (top_ == nullptr) return {.cells = {}, .reads = {}, .computed = true};
    return output(*top_, attno, 0);
}

std::optional<long> QueryWalk::column_leading_to(std::size_t mention, const Origin& of) const {
    const Mention& m = mentions_[mention];
    if (!m.spread_around.empty()) return std::nullopt;
    std::set<Cell> seen(of.cells.begin(), of.cells.end());
    std::deque<Cell> next(of.cells.begin(), of.cells.end());
    if (m.spread.empty()) {
        for (const Cell& cell : of.cells) {
            if (cell.mention == mention) return cell.attno;
        }
    }
    while (!next.empty()) {
        const Cell at = next.front();
        next.pop_front();
        for (const Equality& e : equalities_) {
            if (e.a != at && e.b != at) continue;
            const Cell other = e.a == at ? e.b : e.a;
            // What holds only inside a query with LIMIT says nothing of the rows that would come in for this one.
            const bool holds = m.spread.empty() || (e.outer && e.block == m.block);
            if (other.mention == mention && holds) return other.attno;
            if (seen.insert(other).second) next.push_back(other);
        }
    }
    return std::nullopt;
}

std::set<long> QueryWalk::joined(std::size_t mention) const {
    std::set<long> out;
    for (const Equality& e : equalities_) {
        if (e.a.mention == mention) out.insert(e.a.attno);
        if (e.b.mention == mention) out.insert(e.b.attno);
    }
    return out;
}

bool QueryWalk::plain_rows() const {
    return std::all_of(blocks_.begin(), blocks_.end(),
                       [](const auto& block) { return block->inner.empty() && block->folds().empty(); });
}

std::set<std::string> QueryWalk::folds(const std::vector<long>& attnos) {
    std::set<const Block*> passed;
    passed_ = &passed;
    for (const long attno : attnos) column(attno);
    passed_ = nullptr;
    std::set<std::string> out;
    for (const Block* b : passed) out.merge(b->folds());
    return out;
}

}  // namespace homeostat
