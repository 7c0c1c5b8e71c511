#include "store/data/source_reader.hpp"

#include <fmt/format.h>

#include <string>
#include <string_view>
#include <vector>

#include "store/pg/text_array.hpp"

namespace homeostat {

namespace {

constexpr std::string_view kReaderOf = R"sql(
    WITH RECURSIVE member (oid) AS (
        SELECT r.oid FROM pg_roles r
        WHERE r.rolname = coalesce((SELECT coalesce(d.declared_by, '') FROM homeostat.{} d WHERE d.uid = $2::bigint), current_user)
        UNION
        SELECT m.roleid FROM member b JOIN pg_auth_members m ON m.member = b.oid
    )
    SELECT n.i - 1 FROM unnest($1::text[]) WITH ORDINALITY AS n(role, i)
    WHERE n.role = '' OR n.role IN (SELECT r.rolname FROM member b JOIN pg_roles r ON r.oid = b.oid)
    ORDER BY n.i LIMIT 1)sql";

SourceReader reader_of(Transaction& tx, std::string_view table, std::int64_t uid) {
    const std::vector<ReaderLogin>& readers = tx.options().readers;
    if (readers.empty()) return {};
    if (readers.front().role.empty()) return {0};
    std::vector<std::string> roles;
    for (const ReaderLogin& r : readers) roles.push_back(r.role);
    const Rows rows = tx.exec({fmt::format("reader_of_{}", table), fmt::format(fmt::runtime(kReaderOf), table)},
                              Params::of(format_text_array(roles), uid));
    return rows.empty() ? SourceReader{} : SourceReader{static_cast<int>(rows.i64(0, 0))};
}

}  // namespace

SourceReader reader_of_pipeline(Transaction& tx, std::int64_t uid) { return reader_of(tx, "pipeline", uid); }
SourceReader reader_of_target_view(Transaction& tx, std::int64_t uid) { return reader_of(tx, "target_view", uid); }

Result<std::vector<ReaderReport>> try_readers(Session& session) {
    static const Statement kKnown{"reader_role_known", "SELECT $1::text = '' OR to_regrole(quote_ident($1::text)) IS NOT NULL"};
    static const Statement kWho{"", "SELECT current_user"};
    return guarded([&] {
        std::vector<ReaderReport> out;
        Transaction tx = session.begin(TxMode::read_only);
        const std::vector<ReaderLogin> logins = tx.options().readers;
        for (std::size_t i = 0; i < logins.size(); ++i) {
            ReaderReport report{.login = logins[i], .role = "", .problem = ""};
            report.unknown_role = !tx.exec(kKnown, Params::of(report.login.role)).boolean(0, 0);
            try {
                report.role = tx.source({static_cast<int>(i)}).exec(kWho).text(0, 0);
            } catch (const StoreFailure& failure) {
                report.problem = failure.error.message;
            }
            out.push_back(std::move(report));
        }
        return out;
    });
}

}  // namespace homeostat
