// An analysed query, followed from the columns it gives down to the rows they stand in: views, subqueries, WITH and UNION are
// opened, joins are compared. Every mention of a base relation counts by itself. Works on trees alone and reads no database; part
// of store/data/lineage.hpp. One thread.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "store/data/node_tree.hpp"

namespace homeostat {

// By oid: the analysed query of each view that can be met (QUERY). What is not in here holds rows itself.
using ViewRules = std::map<long, TreeNode>;

class QueryWalk {
public:
    struct Cell {  // a column of one mention
        std::size_t mention = 0;
        long attno = 0;
        auto operator<=>(const Cell&) const = default;
    };
    struct Origin {
        std::vector<Cell> cells;  // columns that are passed on as they are; several from a UNION
        std::set<Cell> reads;  // what computed parts read
        bool computed = false;
    };
    struct Block;
    struct Mention {
        long relation = 0;
        bool nullable = false;  // beyond an outer join
        const Block* block = nullptr;
        std::string spread;  // what carries a change of one row to other rows, "" = nothing: LIMIT, a window function
        std::string spread_around;  // the same, of a query around the one that mentions it
    };

    // `equal`: oids of operators that are equality. Keeps references to both.
    QueryWalk(const ViewRules& rules, const std::set<long>& equal);
    ~QueryWalk();
    QueryWalk(const QueryWalk&) = delete;
    QueryWalk& operator=(const QueryWalk&) = delete;

    // Opens the view. False where it is none, or its query has a form not known here.
    bool open(long view);

    Origin column(long attno);
    const std::vector<Mention>& mentions() const noexcept { return mentions_; }
    // The column of this mention whose value is that of `of` in every row it has part in; nothing where a change of one of its
    // rows may reach documents beyond it.
    std::optional<long> column_leading_to(std::size_t mention, const Origin& of) const;
    // Columns of this mention that are compared with another's.
    std::set<long> joined(std::size_t mention) const;
    // Whether nothing makes one row of several anywhere, and no expression holds a query.
    bool plain_rows() const;
    // What makes one row of several between these columns and the rows they stand in.
    std::set<std::string> folds(const std::vector<long>& attnos);

private:
    struct Equality {
        Cell a;
        Cell b;
        const Block* block;
        bool outer;  // one side comes from around the block: it holds before whatever the block does
    };

    Block* expand(const TreeNode& query, Block* parent, bool nullable, const std::string& around, bool recursive = false);
    void bind(Block& block, const TreeNode& from, bool nullable);
    void bind_entry(Block& block, long index, bool nullable);
    Block* bind_with(Block& block, const TreeNode& entry, bool nullable);
    void visit(Block& block, const TreeNode& node);
    void collect(Block& block, const TreeNode& condition);
    void collect_membership(Block& block, const TreeNode& sublink);
    void equate(Block& block, const Origin& a, const Origin& b, bool outer);
    Origin resolve(Block* block, const TreeNode& expression, int depth);
    Origin entry_column(Block& block, long index, long attno, int depth);
    Origin output(Block& block, long number, int depth);
    void read_all(Block& block, const TreeNode& node, Origin& into, int depth);

    const ViewRules& rules_;
    const std::set<long>& equal_;
    std::vector<std::unique_ptr<Block>> blocks_;
    std::vector<Mention> mentions_;
    std::vector<Equality> equalities_;
    Block* top_ = nullptr;
    std::set<const Block*>* passed_ = nullptr;  // blocks that a column was followed through, where somebody asks
    bool failed_ = false;
};

}  // namespace homeostat
