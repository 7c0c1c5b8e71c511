#include "store/data/left_behind.hpp"

#include <fmt/format.h>

namespace homeostat {

Result<LeftBehind> left_behind(Session& session, const Revision& served, const Revision& next) {
    return guarded([&]() -> LeftBehind {
        const std::size_t columns = served.settings.key.size();
        std::string sql;
        if (served.settings.key == next.settings.key) {
            std::string same, key;
            for (std::size_t i = 1; i <= columns; ++i) {
                same += fmt::format("{0}n.key_{1}::text COLLATE \"C\" = d.key_{1}::text COLLATE \"C\"", i == 1 ? "" : " AND ", i);
                key += fmt::format("{}d.key_{}::text", i == 1 ? "" : ", ", i);
            }
            sql = fmt::format(
                "SELECT count(*), coalesce(sum(hashtextextended(ROW({})::text, 0)), 0)::text FROM {} d WHERE NOT EXISTS"
                " (SELECT FROM {} n WHERE {})",
                key, served.tables.document, next.tables.document, same);
        } else {
            sql = fmt::format("SELECT greatest((SELECT count(*) FROM {}) - (SELECT count(*) FROM {}), 0), ''",
                              served.tables.document, next.tables.document);
        }
        static const Statement kPlan{"left_behind_plan", "SELECT left(md5(concat_ws(' ', $1::int, $2::bigint, $3::text)), 12)"};
        Transaction tx = session.begin(TxMode::read_only);
        const Rows rows = tx.exec(sql);
        const std::int64_t documents = rows.i64(0, 0);
        if (documents == 0) return {};
        return {documents, tx.exec(kPlan, Params::of(next.number, documents, rows.text(0, 1))).text(0, 0)};
    });
}

}  // namespace homeostat
