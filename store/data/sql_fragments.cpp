#include "store/data/sql_fragments.hpp"

#include <fmt/format.h>

namespace homeostat {

std::string numbered(std::size_t n, std::string_view pattern, int first) {
    std::string out;
    for (std::size_t i = 0; i < n; ++i) {
        if (i > 0) out += ", ";
        out += fmt::format(fmt::runtime(pattern), first + static_cast<int>(i));
    }
    return out;
}

std::string match_source(const SourceShape& source, std::string_view right) {
    std::string out;
    for (std::size_t i = 0; i < source.key.size(); ++i) {
        out += fmt::format("{}s.{} = {}", i == 0 ? "" : " AND ", source.key[i].quoted,
                           fmt::format(fmt::runtime(right), i + 1, source.key[i].type, source.key[i].collate));
    }
    return out;
}

std::string key_spelled_differently(const SourceShape& source, std::string_view s, std::string_view d) {
    std::string out;
    for (std::size_t i = 0; i < source.key.size(); ++i) {
        if (source.key[i].exact) continue;
        out +=
            fmt::format(" OR {0}.{2}::text COLLATE \"C\" <> {1}.key_{3}::text COLLATE \"C\"", s, d, source.key[i].quoted, i + 1);
    }
    return out;
}

std::string set_spelling(const SourceShape& source, std::string_view right) {
    std::string out;
    for (std::size_t i = 0; i < source.key.size(); ++i) {
        if (source.key[i].exact) continue;
        out += fmt::format(", key_{} = {}", i + 1,
                           fmt::format(fmt::runtime(right), i + 1, source.key[i].quoted, source.key[i].type));
    }
    return out;
}

std::string parameter_row(const SourceShape& source, int first) {
    std::string out;
    for (const ColumnShape& c : source.key) {
        out += fmt::format("{}${}::text::{}{}", out.empty() ? "" : ", ", first++, c.type, c.collate);
    }
    return "ROW(" + out + ")";
}

// IS NOT NULL would say of a value of a row type whether all its fields are there.
std::string key_not_null(const SourceShape& source) {
    if (!source.nullable_key) return "true";
    std::string out;
    for (const ColumnShape& c : source.key)
        out += fmt::format("{}s.{} IS DISTINCT FROM NULL", out.empty() ? "" : " AND ", c.quoted);
    return out;
}

// The text is made of one row: in the inner query it would be made of each that is skipped, for twice the time of the rest.
std::string slice_end_sql(const SourceShape& source, std::string_view range, std::string_view offset) {
    return fmt::format("SELECT {0} FROM (SELECT {1} FROM {2} s WHERE {3} AND {4} ORDER BY {1} OFFSET {5} LIMIT 1) s",
                       source.key_text_list("s"), source.key_list("s"), source.relation, key_not_null(source), range, offset);
}

std::string slice_rows_sql(const SourceShape& source, std::string_view range, bool content) {
    std::string columns = fmt::format("{} AS homeostat_version", source.version_sql);
    for (std::size_t i = 0; i < source.key.size(); ++i) columns += fmt::format(", s.{} AS k{}", source.key[i].quoted, i + 1);
    if (content) {
        columns += fmt::format(", {} AS homeostat_hash", source.content_hash());
        for (std::size_t i = 0; i < source.metadata.size(); ++i)
            columns += fmt::format(", s.{} AS m{}", source.metadata[i].quoted, i + 1);
    }
    return fmt::format("SELECT {} FROM {} s WHERE {} AND {}", columns, source.relation, key_not_null(source), range);
}

std::string match_document(const SourceShape& source, std::string_view row) {
    std::string on;
    for (std::size_t i = 0; i < source.key.size(); ++i) {
        on += fmt::format("{0}d.key_{1} = {2}.k{1}::{3}{4}", i == 0 ? "" : " AND ", i + 1, row, source.key[i].type,
                          source.key[i].collate);
    }
    return on;
}

std::string rows_by_key_sql(const SourceShape& source) {
    const std::size_t k = source.key.size();
    std::string metadata;
    for (std::size_t i = 0; i < source.metadata.size(); ++i)
        metadata += fmt::format(", s.{}::text AS homeostat_m{}", source.metadata[i].quoted, i);
    return fmt::format(
        "SELECT w.*, s.homeostat_present IS NOT NULL AS present, octet_length(s.content) AS bytes, s.*"
        " FROM unnest({}) WITH ORDINALITY AS w({}, i)"
        "  LEFT JOIN LATERAL (SELECT true AS homeostat_present, {} AS content, ({})::text AS version{} FROM {} s WHERE {}) s ON "
        "true",
        numbered(k, "${}::text[]"), numbered(k, "k{}"), source.content, source.version_sql, metadata, source.relation,
        match_source(source, "w.k{0}::{1}{2}"));
}

std::string chunks_of_sql(const RevisionTables& tables, std::string_view documents) {
    return fmt::format(
        "SELECT c.ctid FROM {} CROSS JOIN LATERAL (SELECT c.ctid, c.document_id, c.number FROM {} c"
        " WHERE c.document_id = w.id OFFSET 0) c",
        documents, tables.chunk);
}

}  // namespace homeostat
