// The vector index of a revision, as the pipeline declares it: which method, over the whole vector, a prefix of it or its bits,
// and with which parameters. Safe from any thread, as far as the session is the caller's.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "store/data/revisions.hpp"

namespace homeostat {

// What an index holds of each vector.
enum class IndexPart : std::uint8_t { whole, prefix, bits };
struct IndexShape {
    std::string method;  // hnsw, ivfflat; "" = there is none that can be used
    IndexPart part = IndexPart::whole;
    std::uint32_t dimensions = 0;  // of the prefix, or of the vector
    std::string opclass;
    std::optional<std::uint32_t> m, ef_construction, lists;  // as it was made with them; absent = the method's own

    bool operator==(const IndexShape&) const = default;
};
// As it is there, where it can be used. Throws StoreFailure.
IndexShape index_there(Transaction& tx, const Revision& revision);
// What an index of that shape holds of `vector`, an expression of the revision's type without a width.
std::string indexed_part(const IndexShape& shape, VectorType type, const VectorExtension& vectors, std::string_view vector);

enum class IndexState : std::uint8_t {
    absent,
    invalid,   // cannot be used
    other,     // is used, and declared otherwise
    valid,
    left_over,  // valid, and beside it is what a build that was interrupted has left
    unwanted   // is there, and none is declared
};
Result<IndexState> index_state(Session& session, const PipelineSpec& spec, const Revision& revision);

// In place, holding writers of the chunk table off for some milliseconds, where there are few vectors: a build beside them waits
// for every transaction of the database. False where there are more, or no index is declared; none must be there already.
Result<bool> build_small_index(Session& session, const PipelineSpec& spec, const Revision& revision,
                               const VectorExtension& vectors);
// CONCURRENTLY, outside a transaction, without a statement timeout, beside the one that is used; then their names are swapped in
// one transaction, in which `swapped` is called, and the one before goes. A build that was interrupted is gone on with where it
// was whole, and else begun anew. May take long.
Status build_index(Session& session, const PipelineSpec& spec, const Revision& revision, const VectorExtension& vectors,
                   const std::function<void(Transaction&)>& swapped);

}  // namespace homeostat
