#include "store/data/source_rows.hpp"

#include <fmt/format.h>

#include "store/data/sql_fragments.hpp"
#include "store/pg/arrays.hpp"

namespace homeostat {

SourceRows::SourceRows(const SourceShape& source, Rows rows, WantedOfRows wanted)
    : shape_(source.renamed()), rows_(std::move(rows)), wanted_(wanted) {
    shape_.version_sql = "s.homeostat_version";
}

SourceRows SourceRows::of_keys(Transaction& tx, const SourceShape& source, const std::vector<Key>& keys, WantedOfRows wanted) {
    const std::size_t k = source.key.size();
    std::string read;
    std::string columns;
    for (std::size_t i = 1; i <= k; ++i) {
        read += fmt::format(", s.{} AS k{}", source.key[i - 1].quoted, i);
        columns += fmt::format(", s.k{}::text", i);
    }
    for (std::size_t i = 1; wanted.metadata && i <= source.metadata.size(); ++i) {
        read += fmt::format(", s.{} AS m{}", source.metadata[i - 1].quoted, i);
        columns += fmt::format(", s.m{}::text", i);
    }
    Params params;
    add_keys(params, keys, k);
    return {source,
            tx.source(source.reader)
                .exec({"source_rows_of_keys",
                       fmt::format("SELECT s.present IS NOT NULL, s.version::text, encode(s.hash, 'hex'){} FROM unnest({})"
                                   " WITH ORDINALITY AS w({}, i) LEFT JOIN LATERAL (SELECT true AS present, {} AS version,"
                                   " {} AS hash{} FROM {} s WHERE {} LIMIT 1) s ON true ORDER BY w.i",
                                   columns, numbered(k, "${}::text[]"), numbered(k, "k{}"), source.version_sql,
                                   wanted.hash ? source.content_hash() : "NULL::bytea", read, source.relation,
                                   match_source(source, "w.k{0}::{1}{2}"))},
                      params),
            wanted};
}

SourceRows SourceRows::of_range(Transaction& tx, const SourceShape& source, const std::string& range, const Params& bounds,
                                bool content) {
    std::string columns;
    for (std::size_t i = 1; i <= source.key.size(); ++i) columns += fmt::format(", s.k{}::text", i);
    for (std::size_t i = 1; content && i <= source.metadata.size(); ++i) columns += fmt::format(", s.m{}::text", i);
    return {source,
            tx.source(source.reader)
                .exec({"source_rows_of_range", fmt::format("SELECT true, s.homeostat_version::text, {}{} FROM ({}) s",
                                                           content ? "encode(s.homeostat_hash, 'hex')" : "NULL", columns,
                                                           slice_rows_sql(source, range, content))},
                      bounds),
            {content, content}};
}

std::string SourceRows::relation(std::size_t first) const {
    std::string names = "present, version, hash";
    std::string columns = fmt::format(
        "u.i, u.present::boolean AS present, u.version::{} AS homeostat_version, decode(u.hash, 'hex') AS homeostat_hash",
        shape_.version_type);
    const auto add = [&](std::string_view letter, const std::vector<ColumnShape>& all) {
        for (std::size_t i = 1; i <= all.size(); ++i) {
            names += fmt::format(", {}{}", letter, i);
            columns += fmt::format(", u.{0}{1}::{2}{3} AS {0}{1}", letter, i, all[i - 1].type, all[i - 1].collate);
        }
    };
    add("k", shape_.key);
    if (wanted_.metadata) add("m", shape_.metadata);
    return fmt::format("(SELECT {} FROM unnest({}) WITH ORDINALITY AS u({}, i))", columns,
                       numbered(parameters(), "${}::text[]", static_cast<int>(first)), names);
}

Params& SourceRows::add_to(Params& params) const {
    std::vector<std::optional<std::string_view>> column(size());
    for (std::size_t c = 0; c < parameters(); ++c) {
        for (std::size_t i = 0; i < size(); ++i) {
            const auto row = static_cast<int>(i);
            const auto at = static_cast<int>(c);
            column[i] = rows_.null(row, at) ? std::nullopt : std::optional<std::string_view>(rows_.view(row, at));
        }
        params.bytes(binary_array(std::span<const std::optional<std::string_view>>(column)));
    }
    return params;
}

std::vector<bool> in_source(Transaction& tx, const SourceShape& source, const std::vector<Key>& keys) {
    const std::size_t k = source.key.size();
    Params params;
    add_keys(params, keys, k);
    const Rows rows = tx.source(source.reader)
                          .exec({"source_has", fmt::format("SELECT EXISTS (SELECT FROM {} s WHERE {}) FROM unnest({})"
                                                           " WITH ORDINALITY AS w({}, i) ORDER BY w.i",
                                                           source.relation, match_source(source, "w.k{0}::{1}{2}"),
                                                           numbered(k, "${}::text[]"), numbered(k, "k{}"))},
                                params);
    std::vector<bool> out;
    out.reserve(keys.size());
    for (int i = 0; i < rows.size(); ++i) out.push_back(rows.boolean(i, 0));
    return out;
}

}  // namespace homeostat
