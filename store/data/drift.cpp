#include "store/data/drift.hpp"

#include <fmt/format.h>

#include "store/data/slice_apart.hpp"
#include "store/data/source_rows.hpp"
#include "store/data/sql_fragments.hpp"
#include "store/pg/arrays.hpp"

namespace homeostat {

namespace {

std::string document_key_list(std::size_t n, std::string_view alias) {
    std::string out;
    for (std::size_t i = 1; i <= n; ++i) out += fmt::format("{}{}.key_{}", out.empty() ? "" : ", ", alias, i);
    return out;
}

std::string key_match(const SourceShape& source, std::string_view s, std::string_view d) {
    std::string out;
    for (std::size_t i = 0; i < source.key.size(); ++i) {
        out += fmt::format("{}{}.{} = {}.key_{}", out.empty() ? "" : " AND ", s, source.key[i].quoted, d, i + 1);
    }
    return out;
}

// What a document's row holds beside version and hash.
std::string row_differs(const SourceShape& source, const Revision& revision) {
    std::string out = key_spelled_differently(source, "s", "d");
    for (const ColumnShape& m : source.metadata) {
        out += fmt::format(" OR s.{}::text IS DISTINCT FROM d.{}::text", m.quoted, revision.tables.metadata_column(m.name));
    }
    return out;
}

void add_key(Params& params, const Key& key) {
    for (const std::string& part : key) params.add(part);
}

Key key_at(const Rows& rows, int row, int column, std::size_t n) {
    Key key;
    for (std::size_t i = 0; i < n; ++i) key.push_back(rows.text(row, column + static_cast<int>(i)));
    return key;
}

// Builds the statements of one slice; the parameters are the lower and the upper key, each where there is one.
class SliceQuery {
public:
    SliceQuery(Transaction& tx, const SourceShape& source, const Revision& revision, const SliceRequest& request)
        : tx_(tx), source_(source), revision_(revision), request_(request), n_(source.key.size()) {}

    Slice run() {
        find_end();
        if (by_digests() && !counted_out_) {
            compare_digests();
        } else {
            compare();
        }
        if (request_.deep) check_chunks();
        return std::move(slice_);
    }

private:
    // A deep look reads everything, row by row.
    bool by_digests() const { return source_.reader.apart() && !request_.deep && comparable_apart(source_); }

    std::string name(std::string_view what) const {
        return fmt::format("{}_{}_{}{}{}", revision_.tables.prefix, what, request_.after ? "a" : "", slice_.last ? "b" : "",
                           slice_.final ? "f" : "");
    }

    Params lower() const {
        Params params;
        if (request_.after) add_key(params, *request_.after);
        return params;
    }

    Params bounds() const {
        Params params = lower();
        if (slice_.last) add_key(params, *slice_.last);
        return params;
    }

    // (after, last] on the source side; (after, last], or open above in the final slice, on the document side.
    std::string range(std::string_view row, bool open_above) const {
        std::string out = "true";
        int next = 1;
        if (request_.after) {
            out = fmt::format("{} > {}", row, parameter_row(source_, next));
            next += static_cast<int>(n_);
        }
        if (slice_.last && !open_above) out += fmt::format(" AND {} <= {}", row, parameter_row(source_, next));
        return out;
    }

    // The parameters must all be used for their types to be known; a clause that is always true does it.
    std::string unused_upper() const {
        if (!slice_.last) return "";
        const int first = request_.after ? static_cast<int>(n_) + 1 : 1;
        std::string out;
        for (std::size_t i = 0; i < n_; ++i) out += fmt::format(" AND (${}::text IS NOT NULL)", first + static_cast<int>(i));
        return out;
    }

    void find_end() {
        std::int64_t limit = request_.limit;
        if (request_.documents) limit = std::min(limit, *request_.documents - request_.seen);
        if (limit <= 0) {
            slice_.final = counted_out_ = true;  // the declared count is reached: what follows is excess
            return;
        }
        if (!source_.unique_key) refuse_duplicates(limit);
        // The last row of a full slice, from the index alone. Where there are fewer rows, nothing bounds the slice above.
        Params params = lower();
        params.add(limit - 1);
        const Rows rows = tx_.source(source_.reader)
                              .exec({fmt::format("{}_end_{}", revision_.tables.prefix, request_.after ? "a" : ""),
                                     slice_end_sql(source_, range(source_.key_row("s"), true),
                                                   fmt::format("${}::bigint", request_.after ? n_ + 1 : 1))},
                                    params);
        if (by_digests()) outset_ = slice_outset(tx_, revision_, request_.after ? "a" : "", range(document_row(), true), lower());
        if (!rows.empty()) {
            slice_.last = key_at(rows, 0, 0, n_);
            slice_.source_rows = limit;
            slice_.final = request_.documents && request_.seen + limit >= *request_.documents;
            return;
        }
        slice_.final = true;
        if (by_digests()) return;  // they count
        const Rows counted = tx_.source(source_.reader)
                                 .exec({fmt::format("{}_tail_{}", revision_.tables.prefix, request_.after ? "a" : ""),
                                        fmt::format("SELECT count(*) FROM {} s WHERE {} AND {}", source_.relation,
                                                    key_not_null(source_), range(source_.key_row("s"), true))},
                                       lower());
        slice_.source_rows = counted.i64(0, 0);
    }

    // Where no unique index promises it, the rows of the slice are asked. Equal keys would be one document with two texts.
    void refuse_duplicates(std::int64_t limit) {
        Params params = lower();
        params.add(limit + 1);
        const std::string keys = source_.key_list("s");
        const Rows rows =
            tx_.source(source_.reader)
                .exec({fmt::format("{}_twice_{}", revision_.tables.prefix, request_.after ? "a" : ""),
                       fmt::format(
                           "SELECT count(*) - count(DISTINCT ROW({0})) FROM (SELECT {0} FROM {1} s WHERE {2} AND {3} ORDER BY {0}"
                           " LIMIT ${4}::bigint) s",
                           keys, source_.relation, key_not_null(source_), range(source_.key_row("s"), true),
                           request_.after ? n_ + 1 : 1)},
                      params);
        if (rows.i64(0, 0) == 0) return;
        throw StoreFailure(
            {.cls = ErrorClass::invalid,
             .message = fmt::format("more than one row of {} has the same key ({}); name columns in key that identify one "
                                    "row",
                                    source_.described, joined_key_names()),
             .origin = Origin::user,
             .code = "AmbiguousKey"});
    }

    std::string joined_key_names() const {
        std::string out;
        for (const ColumnShape& c : source_.key) out += (out.empty() ? "" : ", ") + c.name;
        return out;
    }

    std::string document_row() const { return "ROW(" + document_key_list(n_, "d") + ")"; }

    void compare_digests() {
        const std::string ends = name("range").substr(revision_.tables.prefix.size() + 1);
        SliceDrift drift = compare_apart(tx_, source_, revision_,
                                         {.name = ends,
                                          .source = range(source_.key_row("s"), false),
                                          .of_source = bounds(),
                                          .documents = range(document_row(), slice_.final),
                                          .of_documents = slice_.final ? lower() : bounds()},
                                         outset_);
        if (!slice_.last) slice_.source_rows = drift.source_rows;
        slice_.document_rows = drift.document_rows;
        for (Key& key : drift.missing) slice_.items.push_back({.cls = DriftClass::missing, .key = std::move(key)});
        classify_changed(std::move(drift.changed));
        classify_gone(std::move(drift.gone));
    }

    void compare() {
        const bool read_content = request_.deep || source_.version == VersionKind::hash;
        const std::string document_rows = fmt::format("SELECT * FROM {} d WHERE {}{}", revision_.tables.document,
                                                      range(document_row(), slice_.final), slice_.final ? unused_upper() : "");
        const bool no_source = slice_.source_rows == 0;
        const std::string source_range =
            no_source ? "false" + (request_.after ? unused_lower() : "") : range(source_.key_row("s"), false);
        Params params = bounds();
        const std::string source_rows = rows_of_source(source_range, read_content, params);
        const SourceShape sliced = source_.renamed();
        const std::string changed =
            read_content
                ? fmt::format(
                      "(s.homeostat_hash IS DISTINCT FROM d.content_hash{}{})", row_differs(sliced, revision_),
                      source_.version == VersionKind::hash ? "" : " OR s.homeostat_version IS DISTINCT FROM d.source_version")
                : "s.homeostat_version IS DISTINCT FROM d.source_version" + key_spelled_differently(sliced, "s", "d");
        const std::string no_source_row = "s." + sliced.key[0].quoted + " IS NOT DISTINCT FROM NULL";
        const std::string cls =
            read_content ? fmt::format(
                               "CASE WHEN d.document_id IS NULL THEN 'm' WHEN {} THEN 'o'"
                               " WHEN s.homeostat_hash IS DISTINCT FROM d.content_hash THEN 's'"
                               " WHEN false{} THEN 'v' ELSE 't' END",
                               no_source_row, row_differs(sliced, revision_))
                         : fmt::format("CASE WHEN d.document_id IS NULL THEN 'm' WHEN {} THEN 'o' ELSE 'c' END", no_source_row);
        std::string keys;
        for (std::size_t i = 0; i < n_; ++i) {
            keys += fmt::format(", coalesce(s.{}, d.key_{})::text", sliced.key[i].quoted, i + 1);
        }
        const std::string order = fmt::format("ORDER BY {}", order_list(sliced));
        const Rows rows = tx_.exec(
            {name(request_.deep ? "deep" : "diff"),
             fmt::format("SELECT {}, d.document_id{} FROM {} s FULL JOIN ({}) d ON {} WHERE d.document_id IS NULL OR {} OR"
                         " {} {}",
                         cls, keys, source_rows, document_rows, key_match(sliced, "s", "d"), no_source_row, changed, order)},
            params);
        sort_out(rows);
    }

    // As a relation; where it is read apart, what was read goes into `params`.
    std::string rows_of_source(const std::string& range, bool content, Params& params) {
        if (!source_.reader.apart()) return "(" + slice_rows_sql(source_, range, content) + ")";
        const std::size_t first = params.values().size() + 1;
        const SourceRows read = SourceRows::of_range(tx_, source_, range, bounds(), content);
        read.add_to(params);
        return read.relation(first);
    }

    std::string unused_lower() const {
        std::string out;
        for (std::size_t i = 1; i <= n_; ++i) out += fmt::format(" AND (${}::text IS NOT NULL)", i);
        return out;
    }

    std::string order_list(const SourceShape& sliced) const {
        std::string out;
        for (std::size_t i = 0; i < n_; ++i) {
            out += fmt::format("{}coalesce(s.{}, d.key_{})", i == 0 ? "" : ", ", sliced.key[i].quoted, i + 1);
        }
        return out;
    }

    void sort_out(const Rows& rows) {
        std::vector<DriftItem> changed;
        std::vector<DriftItem> gone;
        std::int64_t missing = 0;
        for (int i = 0; i < rows.size(); ++i) {
            DriftItem item{.key = key_at(rows, i, 2, n_), .document_id = rows.null(i, 1) ? 0 : rows.i64(i, 1)};
            switch (rows.view(i, 0).front()) {
                case 'm':
                    item.cls = DriftClass::missing;
                    ++missing;
                    break;
                case 's': item.cls = DriftClass::stale; break;
                case 'v': item.cls = DriftClass::moved; break;
                case 't': item.cls = DriftClass::touched; break;
                case 'o': gone.push_back(std::move(item)); continue;
                default: changed.push_back(std::move(item)); continue;
            }
            slice_.items.push_back(std::move(item));
        }
        slice_.document_rows = slice_.source_rows - missing + static_cast<std::int64_t>(gone.size());
        classify_changed(std::move(changed));
        classify_gone(std::move(gone));
    }

    // Only a row whose version differs has its content read and hashed.
    void classify_changed(std::vector<DriftItem> changed) {
        if (changed.empty()) return;
        std::vector<std::int64_t> ids;
        for (const DriftItem& item : changed) ids.push_back(item.document_id);
        Params params;
        params.bytes(binary_array(ids));
        std::string hash = source_.content_hash();
        std::string differs = row_differs(source_, revision_);
        std::string relation = source_.relation;
        std::string match = key_match(source_, "s", "d");
        if (source_.reader.apart()) {
            const SourceRows read = SourceRows::of_keys(tx_, source_, keys_of(changed));
            hash = SourceRows::kHash;
            differs = row_differs(read.shape(), revision_);
            relation = read.relation(2);
            match = "s.i = w.i AND s.present";
            read.add_to(params);
        }
        const Rows rows = tx_.exec(
            {revision_.tables.prefix + "_changed",
             fmt::format(
                 "SELECT CASE WHEN {} <> d.content_hash THEN 's' WHEN false{} THEN 'v' ELSE 't' END"
                 " FROM unnest($1::bigint[]) WITH ORDINALITY AS w(id, i) JOIN {} d ON d.document_id = w.id JOIN {} s ON {}"
                 " ORDER BY w.i",
                 hash, differs, revision_.tables.document, relation, match)},
            params);
        if (rows.size() != static_cast<int>(changed.size())) {
            throw StoreFailure(internal_error(fmt::format("{} rows of {} were compared where {} were expected", rows.size(),
                                                          source_.described, changed.size())));
        }
        for (int i = 0; i < rows.size(); ++i) {
            DriftItem& item = changed[static_cast<std::size_t>(i)];
            const char c = rows.view(i, 0).front();
            item.cls = c == 's' ? DriftClass::stale : c == 'v' ? DriftClass::moved : DriftClass::touched;
            slice_.items.push_back(std::move(item));
        }
    }

    static std::vector<Key> keys_of(const std::vector<DriftItem>& items) {
        std::vector<Key> keys;
        for (const DriftItem& item : items) keys.push_back(item.key);
        return keys;
    }

    // Without a declared count what has no source row is orphaned; with one it may merely lie beyond the count.
    void classify_gone(std::vector<DriftItem> gone) {
        if (gone.empty()) return;
        std::vector<bool> exists(gone.size(), false);
        if (request_.documents && source_.reader.apart()) {
            exists = in_source(tx_, source_, keys_of(gone));
        } else if (request_.documents) {
            std::vector<std::int64_t> ids;
            for (const DriftItem& item : gone) ids.push_back(item.document_id);
            Params params;
            params.bytes(binary_array(ids));
            const Rows rows = tx_.exec(
                {revision_.tables.prefix + "_gone",
                 fmt::format("SELECT EXISTS (SELECT FROM {} s WHERE {}) FROM unnest($1::bigint[]) WITH ORDINALITY AS w(id, i)"
                             " JOIN {} d ON d.document_id = w.id ORDER BY w.i",
                             source_.relation, key_match(source_, "s", "d"), revision_.tables.document)},
                params);
            for (int i = 0; i < rows.size(); ++i) exists[static_cast<std::size_t>(i)] = rows.boolean(i, 0);
        }
        for (std::size_t i = 0; i < gone.size(); ++i) {
            gone[i].cls = exists[i] ? DriftClass::excess : DriftClass::orphaned;
            slice_.items.push_back(std::move(gone[i]));
        }
    }

    // Chunks are counted and vectors looked at only in a deep sweep: this reads every vector.
    void check_chunks() {
        std::string keys;
        for (std::size_t i = 1; i <= n_; ++i) keys += fmt::format(", d.key_{}::text", i);
        const Rows rows = tx_.exec(
            {name("chunks"),
             fmt::format("SELECT c.broken, d.document_id{0} FROM {1} d CROSS JOIN LATERAL ("
                         " SELECT count(*) <> d.chunk_count OR coalesce(max(c.number) + 1, 0) <> d.chunk_count"
                         "  OR coalesce(bool_or(c.chunk_hash <> sha256(convert_to(coalesce(c.context || E'\\n\\n', '') || c.text,"
                         "                                                        'UTF8'))), false) AS broken,"
                         " coalesce(bool_or(NOT homeostat.vector_ok(c.embedding, {2})), false) AS bad"
                         " FROM {3} c WHERE c.document_id = d.document_id) c WHERE {4}{5} AND (c.broken OR c.bad) ORDER BY {6}",
                         keys, revision_.tables.document, revision_.settings.dimensions, revision_.tables.chunk,
                         range(document_row(), slice_.final), slice_.final ? unused_upper() : "", document_key_list(n_, "d"))},
            bounds());
        for (int i = 0; i < rows.size(); ++i) add_broken(rows.boolean(i, 0), rows.i64(i, 1), key_at(rows, i, 2, n_));
    }

    // A document that is stale or gone anyway is healed as that; one that had merely moved is rebuilt instead.
    void add_broken(bool broken, std::int64_t id, Key key) {
        const DriftClass cls = broken ? DriftClass::partial : DriftClass::invalid;
        for (DriftItem& item : slice_.items) {
            if (item.document_id != id) continue;
            if (item.cls == DriftClass::moved || item.cls == DriftClass::touched) item.cls = cls;
            return;
        }
        slice_.items.push_back({cls, std::move(key), id});
    }

    Transaction& tx_;
    const SourceShape& source_;
    const Revision& revision_;
    const SliceRequest& request_;
    std::size_t n_;
    bool counted_out_ = false;  // no row of the source is looked at
    SliceOutset outset_;
    Slice slice_;
};

}  // namespace

Result<Slice> observe_slice(Transaction& tx, const SourceShape& source, const Revision& revision, const SliceRequest& request) {
    return guarded([&] { return SliceQuery(tx, source, revision, request).run(); });
}

}  // namespace homeostat
