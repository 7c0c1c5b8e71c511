#include "store/data/adopted_rows.hpp"

#include <fmt/format.h>

#include "store/data/sql_fragments.hpp"
#include "store/data/vector_sample.hpp"
#include "store/pg/row_reader.hpp"
#include "store/pg/text_array.hpp"

namespace homeostat {

namespace {

// Where the relation is, and what keeps who declared the pipeline from reading it.
const Statement kMayRead{"adopted_may_read", R"sql(
    SELECT to_regclass($2) IS NULL, homeostat.missing_right(p.declared_by, to_regclass($2)::regclass, $3::text[], 'Refuse')
    FROM homeostat.pipeline p WHERE p.uid = $1::bigint)sql"};

// The whole of a large table takes as long as it takes.
constexpr std::string_view kPatience = "SET LOCAL statement_timeout = '10min'";

Error wrong(std::string message) {
    return {.cls = ErrorClass::db_permanent, .message = std::move(message), .origin = Origin::user, .code = "42P01"};
}

Transaction& patient(Transaction& tx, const SourceShape& shape) {
    if (shape.reader.apart()) {
        tx.source(shape.reader).before_each(std::string(kPatience));
    } else {
        tx.exec(kPatience);
    }
    return tx.source(shape.reader);
}

std::vector<Key> keys_at(const Rows& rows, std::size_t k) {
    std::vector<Key> out;
    for (int i = 0; i < rows.size(); ++i) {
        Key key;
        for (std::size_t c = 0; c < k; ++c) key.push_back(rows.text(i, static_cast<int>(c)));
        out.push_back(std::move(key));
    }
    return out;
}

}  // namespace

Result<AdoptedShape> inspect_adopted(Transaction& tx, const PipelineSpec& declared, const AdoptedNames& names) {
    std::vector<std::string> columns = names.key;
    columns.push_back(names.vector);
    for (const auto& column : {names.chunk, names.text}) {
        if (column) columns.push_back(*column);
    }
    const Rows rows = tx.exec(kMayRead, Params::of(declared.uid, names.relation, format_text_array(columns)));
    if (!rows.empty() && rows.boolean(0, 0)) return wrong(fmt::format("{} is not there any more", names.relation));
    if (!rows.empty() && !rows.null(0, 1)) return wrong(rows.text(0, 1));
    PipelineSpec spec;
    spec.uid = declared.uid;
    spec.name = declared.name;
    spec.source = names.relation;
    spec.key = names.key;
    spec.content = {names.vector};
    for (const auto& column : {names.chunk, names.text}) {
        if (column) spec.metadata.push_back(*column);
    }
    Result<SourceShape> shape = inspect_source(tx, spec);
    if (!shape) return shape.error();
    AdoptedShape out;
    out.rows = *std::move(shape);
    if (names.chunk) out.chunk = out.rows.metadata.front().quoted;
    if (names.text) out.text = out.rows.metadata.back().quoted;
    return out;
}

std::vector<std::vector<AdoptedRow>> read_adopted(Transaction& tx, const AdoptedShape& shape, const SourceShape& source,
                                                  const std::vector<Key>& keys) {
    const std::size_t k = source.key.size();
    Params params;
    add_keys(params, keys, k);
    const Rows rows =
        tx.source(shape.rows.reader)
            .exec({"adopted_rows",
                   fmt::format("SELECT w.i, {}, {}, {} FROM unnest({}) WITH ORDINALITY AS w({}, i) JOIN {} s ON {} ORDER BY w.i",
                               shape.chunk ? fmt::format("s.{}::text", *shape.chunk) : "NULL",
                               shape.text ? fmt::format("s.{}::text", *shape.text) : "NULL", shape.rows.content,
                               numbered(k, "${}::text[]"), numbered(k, "k{}"), shape.rows.relation,
                               match_source(shape.rows, "w.k{0}::{1}{2}"))},
                  params);
    std::vector<std::vector<AdoptedRow>> out(keys.size());
    for (int i = 0; i < rows.size(); ++i) {
        AdoptedRow row;
        row.number = rows.maybe_i64(i, 1);
        row.text = rows.maybe(i, 2);
        row.vector = numbers_in(rows.view(i, 3));
        out.at(static_cast<std::size_t>(rows.i64(i, 0) - 1)).push_back(std::move(row));
    }
    return out;
}

AdoptedTotals count_adopted(Transaction& tx, const AdoptedShape& shape) {
    const Rows rows = patient(tx, shape.rows)
                          .exec({"adopted_totals", fmt::format("SELECT count(*), coalesce(min({}), 0) FROM {} s",
                                                               shape.chunk ? fmt::format("s.{}::bigint", *shape.chunk) : "0",
                                                               shape.rows.relation)});
    return {rows.i64(0, 0), rows.i64(0, 1)};
}

std::vector<Key> sample_adopted(Transaction& tx, const AdoptedShape& shape, std::int64_t n) {
    const SourceShape& s = shape.rows;
    const Rows rows = patient(tx, s).exec(
        {"adopted_sample", fmt::format("SELECT DISTINCT {} FROM (SELECT {} FROM {} s WHERE {} ORDER BY random()"
                                       " LIMIT $1::bigint) s",
                                       s.key_text_list("s"), s.key_list("s"), s.relation, key_not_null(s))},
        Params::of(n));
    return keys_at(rows, s.key.size());
}

std::vector<Key> next_keys(Transaction& tx, const SourceShape& source, const std::optional<Key>& after, std::int64_t limit) {
    Params params;
    std::string range = "true";
    if (after) {
        for (const std::string& part : *after) params.add(part);
        range = fmt::format("{} > {}", source.key_row("s"), parameter_row(source, 1));
    }
    params.add(limit);
    const Rows rows =
        tx.source(source.reader)
            .exec({after ? "adoption_next_keys" : "adoption_first_keys",
                   fmt::format("SELECT {} FROM (SELECT {} FROM {} s WHERE {} AND {} ORDER BY {} LIMIT ${}::bigint) s",
                               source.key_text_list("s"), source.key_list("s"), source.relation, key_not_null(source), range,
                               source.key_list("s"), params.values().size())},
                  params);
    return keys_at(rows, source.key.size());
}

std::vector<std::optional<SourceText>> source_texts(Transaction& tx, const SourceShape& source, const std::vector<Key>& keys) {
    Params params;
    add_keys(params, keys, source.key.size());
    const Rows rows =
        tx.source(source.reader)
            .exec({"adoption_texts", fmt::format("SELECT r.present, CASE WHEN r.present THEN r.content END FROM ({}) r"
                                                 " ORDER BY r.i",
                                                 rows_by_key_sql(source))},
                  params);
    if (rows.size() != static_cast<int>(keys.size())) {
        throw StoreFailure({.cls = ErrorClass::invalid,
                            .message = fmt::format("more than one row of {} has the same key; name columns in key that identify "
                                                   "one row",
                                                   source.described),
                            .origin = Origin::user,
                            .code = "AmbiguousKey"});
    }
    std::vector<std::optional<SourceText>> out;
    for (int i = 0; i < rows.size(); ++i) {
        if (!rows.boolean(i, 0)) {
            out.emplace_back();
            continue;
        }
        std::string_view content = rows.view(i, 1);
        SourceText text;
        const std::size_t mark = source.in_context ? content.find(kContextMark) : std::string_view::npos;
        if (mark != std::string_view::npos) {
            text.context = content.substr(0, mark);
            content.remove_prefix(mark + 1);
        }
        text.content = content;
        out.emplace_back(std::move(text));
    }
    return out;
}

}  // namespace homeostat
