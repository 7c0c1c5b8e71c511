#include "store/inspect/preview.hpp"

#include <fmt/format.h>

namespace homeostat {

Revision preview_new(std::int64_t uid, const RevisionSettings& settings, const SourceShape& source) {
    Revision r{0, "building", settings, RevisionTables::of(uid, 0)};
    std::string columns = "NULL::bigint AS document_id, NULL::bytea AS content_hash, NULL::int AS chunk_count";
    columns += fmt::format(", NULL::{} AS source_version", source.version_type);
    for (std::size_t i = 0; i < source.key.size(); ++i) {
        columns += fmt::format(", NULL::{}{} AS key_{}", source.key[i].type, source.key[i].collate, i + 1);
    }
    for (const ColumnShape& m : source.metadata) {
        r.tables.metadata_slots.push_back(m.name);
        columns += fmt::format(", NULL::{}{} AS {}", m.type, m.collate, r.tables.metadata_column(m.name));
    }
    r.tables.document = fmt::format("(SELECT {} WHERE false)", columns);
    return r;
}

Revision preview_aligned(Revision r, const SourceShape& source) {
    std::string added;
    for (const ColumnShape& m : source.metadata) {
        if (!r.tables.metadata_column(m.name).empty()) continue;
        r.tables.metadata_slots.push_back(m.name);
        added += fmt::format(", NULL::{}{} AS {}", m.type, m.collate, r.tables.metadata_column(m.name));
    }
    if (!added.empty()) r.tables.document = fmt::format("(SELECT d.*{} FROM {} d)", added, r.tables.document);
    return r;
}

}  // namespace homeostat
