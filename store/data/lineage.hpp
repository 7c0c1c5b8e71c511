// Where the columns of a source come from, and what a change of a table it rests on means for its key.
//
// Of a view this is read from the query as PostgreSQL itself has analysed and stored it (pg_rewrite), view by view down to what
// holds rows, and never from SQL text. Each mention of a table counts by itself: a table joined to itself may name a document by
// one of its rows and not by the other. What is not understood is said to be unknown, never guessed. Only reads the catalog.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/resource.hpp"
#include "store/pg/session.hpp"

namespace homeostat {

struct BaseColumn {
    std::size_t table = 0;  // of Lineage::tables
    std::string column;
    bool operator==(const BaseColumn&) const = default;
};

struct ColumnOrigin {
    enum class Kind : std::uint8_t { base, several, computed, unknown };
    Kind kind = Kind::unknown;
    std::vector<BaseColumn> columns;  // several: a UNION's, one a branch; computed: those that the expression reads
    bool not_null = false;            // the column cannot be NULL there, and no outer join makes it so
};

// A table, materialised view or foreign table that a source rests on; the source itself where it is no view.
struct BaseTable {
    std::string schema;
    std::string relation;
    std::string name;                   // both, quoted
    char kind = 'r';                    // pg_class.relkind
    double rows = -1;                   // as last analysed; -1 = never
    std::string owner;
    bool may_trigger = false;           // the current role may create triggers on it
    std::vector<std::string> key;       // primary key; empty = none
    std::vector<std::vector<std::string>> indexes;  // columns of every B-tree that orders all rows
    std::map<std::string, std::string, std::less<>> quoted;  // its columns as identifiers
    std::vector<std::string> leaves;    // partitions that hold rows, quoted with their schema

    std::vector<std::string> capture;   // for each key column of the source, the column here that holds it; empty = none does
    std::string obstacle;               // why capture is empty: "" where no column here leads to the key
    std::vector<std::string> joined;    // columns here that a join compares
};

struct Lineage {
    std::vector<BaseTable> tables;
    std::map<std::string, ColumnOrigin, std::less<>> columns;  // of every column of the source
    std::vector<std::string> folds;  // what stands between the key and its table and makes rows of several: GROUP BY, UNION, ...
    bool plain_rows = true;  // every row is made of at most one row of each table in FROM, and of nothing else
    bool understood = true;  // false: only the names of the tables are known
};

// `key` are columns of the source. Not an error where the source is gone: then nothing is known.
Result<Lineage> trace_source(Transaction& tx, const std::string& source, const std::vector<std::string>& key);

}  // namespace homeostat
