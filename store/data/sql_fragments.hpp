// Pieces of statements that name a source's columns; shared by the statements of store/data/vectors.hpp and store/data/drift.hpp,
// and by store/inspect/plan_check.hpp, which asks the planner about them. Pure.
#pragma once

#include <string>
#include <string_view>

#include "store/data/relation.hpp"
#include "store/data/revisions.hpp"

namespace homeostat {

// `pattern` with {} for 1, 2, ... n (from `first`), joined by commas.
std::string numbered(std::size_t n, std::string_view pattern, int first = 1);

// s."a" = <right> AND ...; `right` has {0} for the number of the key column, {1} for its type, {2} for its collation.
std::string match_source(const SourceShape& source, std::string_view right);
// A document `d` of ours by the texts k1, k2, … of `row`.
std::string match_document(const SourceShape& source, std::string_view row);

// " OR ...": a key column says the same in another spelling (citext, 1.0 and 1.00), of source `s` and document `d`; "" where no
// type of the key allows that.
std::string key_spelled_differently(const SourceShape& source, std::string_view s, std::string_view d);
// ", key_1 = <right>": brings those columns up to date; `right` has {0} for the column's number, {1} its name, {2} its type.
std::string set_spelling(const SourceShape& source, std::string_view right);

// ROW($1::text::integer, ...) from parameter `first` on.
std::string parameter_row(const SourceShape& source, int first);

// Where the row can be a document at all: "true", or that no key column is NULL.
std::string key_not_null(const SourceShape& source);

// The key of one row of a range: with an OFFSET of one less than a slice, the key that ends it. `range` is a condition on s.
std::string slice_end_sql(const SourceShape& source, std::string_view range, std::string_view offset);

// Key and version of every row of a range; with `content` also its hash and the metadata, which reads the text. Its columns are
// those of SourceShape::renamed().
std::string slice_rows_sql(const SourceShape& source, std::string_view range, bool content);

// For the keys in $1::text[], ... (one array a key column), in their order as i: the row's text, its length in bytes, version and
// metadata, with `present` where there is one.
std::string rows_by_key_sql(const SourceShape& source);

// Where the chunks of some documents lie, as c, with their document_id and number; `documents` has their ids as w.id. Document by
// document: after many rows were written the planner would take each to have thousands, and read the whole table instead.
std::string chunks_of_sql(const RevisionTables& tables, std::string_view documents);

}  // namespace homeostat
