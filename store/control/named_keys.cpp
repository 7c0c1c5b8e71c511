#include "store/control/named_keys.hpp"

#include <fmt/format.h>

#include "store/pg/text_array.hpp"

namespace homeostat {

namespace {

// A column of keys a row of the array, as batches are inserted.
const Statement kNamed{"batch_named",
                       "SELECT array_length(keys, 1), ARRAY(SELECT unnest(keys))::text FROM homeostat.batch"
                       " WHERE id = $1::bigint AND claim_token = $2::bigint"};
const Statement kKeepKeys{"batch_keep_keys",
                          "UPDATE homeostat.batch SET keys = $2::text[], documents = $3::int WHERE id = $1::bigint"};

}  // namespace

Result<std::vector<Key>> named_keys(Session& session, const Batch& batch) {
    return guarded([&]() -> Result<std::vector<Key>> {
        const Rows rows = session.exec(kNamed, Params::of(batch.id, batch.token));
        if (rows.empty()) return fenced(fmt::format("batch {}: its claim is no longer ours", batch.id));
        const auto columns = static_cast<std::size_t>(rows.maybe_i64(0, 0).value_or(0));
        const std::vector<std::string> flat = parse_text_array(rows.view(0, 1));
        std::vector<Key> keys(columns == 0 ? 0 : flat.size() / columns);
        for (std::size_t i = 0; i < keys.size(); ++i) {
            for (std::size_t c = 0; c < columns; ++c) keys[i].push_back(flat[c * keys.size() + i]);
        }
        return keys;
    });
}

void keep_keys(Transaction& tx, std::int64_t id, const std::vector<Key>& keys) {
    tx.exec(kKeepKeys, Params::of(id, format_text_columns(keys), keys.size()));
}

}  // namespace homeostat
