#include "store/data/keys_under_way.hpp"

#include <fmt/format.h>

#include "store/data/sql_fragments.hpp"

namespace homeostat {

std::vector<bool> keys_under_way(Transaction& tx, std::int64_t uid, std::int32_t revision, const SourceShape& source,
                                 const std::vector<Key>& keys) {
    std::vector<bool> out(keys.size(), false);
    if (keys.empty()) return out;
    const std::size_t n = source.key.size();
    Params params;
    add_keys(params, keys, n);
    params.add(uid).add(revision);
    std::string match;
    for (std::size_t i = 0; i < n; ++i) {
        match += fmt::format("{0}u.k{1}::{2}{3} = w.k{1}::{2}{3}", i == 0 ? "" : " AND ", i + 1, source.key[i].type,
                             source.key[i].collate);
    }
    // The array of a batch is opened once, column by column, and not once for each of its elements.
    const Rows rows = tx.exec({fmt::format("p{}_r{}_under_way", uid, revision),
                               fmt::format(R"sql(
        SELECT DISTINCT w.i FROM unnest({arrays}) WITH ORDINALITY AS w({names}, i)
        JOIN (SELECT u.* FROM homeostat.batch b CROSS JOIN LATERAL unnest({columns}) AS u({names})
              WHERE b.uid = ${uid}::bigint AND b.revision = ${revision}::int AND b.kind = 'heal') u ON {match})sql",
                                           fmt::arg("arrays", numbered(n, "${}::text[]")), fmt::arg("names", numbered(n, "k{}")),
                                           fmt::arg("columns", numbered(n, "b.keys[{0}:{0}]")), fmt::arg("uid", n + 1),
                                           fmt::arg("revision", n + 2), fmt::arg("match", match))},
                              params);
    for (int i = 0; i < rows.size(); ++i) out[static_cast<std::size_t>(rows.i64(i, 0) - 1)] = true;
    return out;
}

}  // namespace homeostat
