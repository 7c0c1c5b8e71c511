#include "store/data/document_ids.hpp"

#include <fmt/format.h>

#include "store/data/revision_columns.hpp"

namespace homeostat {

Status give_ids(Session& session, const Revision& revision, std::vector<ReadDocument>& documents) {
    std::vector<ReadDocument*> without;
    for (ReadDocument& d : documents) {
        if (!d.deferred && d.document_id == 0) without.push_back(&d);
    }
    if (without.empty()) return {};
    return guarded([&] {
        const Rows ids = session.exec({revision.tables.prefix + "_ids", fmt::format("SELECT nextval('{}'::regclass) FROM"
                                                                                    " generate_series(1, $1::bigint)",
                                                                                    ids_of(revision.tables))},
                                      Params::of(static_cast<std::int64_t>(without.size())));
        for (std::size_t i = 0; i < without.size(); ++i) without[i]->document_id = ids.i64(static_cast<int>(i), 0);
    });
}

}  // namespace homeostat
