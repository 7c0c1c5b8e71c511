// The function <target>_search(query vector, k int): the k nearest chunks of the served revision, found by the index that is
// there and put in order by their whole vectors. It is made where an index over a prefix or over bits is declared, which no plain
// ORDER BY uses, and from then on follows what is served and how that is indexed.
//
// It reads the served view and nothing else, with the rights of whoever calls it and a search_path of its own, and belongs to
// whom the view belongs to. A function of that name that is not homeostat's is left alone. One transaction at a time.
#pragma once

#include "store/data/revisions.hpp"
#include "store/data/vector_index.hpp"

namespace homeostat {

// Whether one is declared.
bool wants_search(const PipelineSpec& spec);
// Makes it as the served revision and its index are now, where it is declared or there already; false where a function of
// somebody else's is in the way, or its name would be too long. Throws StoreFailure.
bool keep_search(Transaction& tx, const PipelineSpec& spec, const Revision& revision, const SourceShape& source,
                 const VectorExtension& vectors);
// The one of this target as SQL calls it ("schema"."view_search"), where it is homeostat's and the current role may call it; ""
// where not. Its columns are those of the view's documents, chunk_number, chunk_text and distance_column(). Throws StoreFailure.
std::string search_there(Transaction& tx, const PipelineSpec& spec, const VectorExtension& vectors);
// Called otherwise where a column of the user's has that name.
std::string distance_column(const std::vector<std::string>& key, const std::vector<std::string>& metadata);
// Drops the one of this target, where it is homeostat's. Throws StoreFailure.
void drop_search(Transaction& tx, const PipelineSpec& spec);

}  // namespace homeostat
