#include "store/data/slice_apart.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "store/data/sql_fragments.hpp"
#include "store/pg/arrays.hpp"

namespace homeostat {

namespace {

// Of rows that differ, at most two groups each are read: by the version that one side has, and by the other's.
constexpr int kGroups = 256;

// How many rows, and the sum of a hash of each.
using Digest = std::pair<std::int64_t, std::string>;
using Digests = std::map<std::int64_t, Digest>;  // by group

// The two sides in SQL: the same columns in the same order, or their hashes say nothing.
struct Side {
    std::string from;     // relation, alias, and the range
    std::vector<std::string> columns;  // version and key
    std::string texts;
    std::string order;
    Params params;
};

Side source_side(const SourceShape& source, const SliceRange& range) {
    std::vector<std::string> columns{source.version_sql};
    for (const ColumnShape& c : source.key) columns.push_back("s." + c.quoted);
    return {.from = fmt::format("{} s WHERE {} AND {}", source.relation, key_not_null(source), range.source),
            .columns = std::move(columns),
            .texts = fmt::format("{}, ({})::text, 0", source.key_text_list("s"), source.version_sql),
            .order = source.key_list("s"),
            .params = range.of_source};
}

Side document_side(const SourceShape& source, const Revision& revision, const SliceRange& range) {
    const std::string keys = numbered(source.key.size(), "d.key_{}");
    std::vector<std::string> columns{"d.source_version"};
    for (std::size_t i = 1; i <= source.key.size(); ++i) columns.push_back(fmt::format("d.key_{}", i));
    return {.from = fmt::format("{} d WHERE {}", revision.tables.document, range.documents),
            .columns = std::move(columns),
            .texts = numbered(source.key.size(), "d.key_{}::text") + ", d.source_version::text, d.document_id",
            .order = keys,
            .params = range.of_documents};
}

// Column by column, each hashed with the hash of those before it as the seed. A sum of the columns' own hashes would not do (as
// hash_record_extended is): rows that have swapped their versions would have the same sum. Nor would the hashes of integers,
// which fold 64 bits into 32, whatever the seed. No function is the user's: values are texts by now, and the rest is the
// server's.
std::string hash_of(const Side& side, std::size_t parameter) {
    const std::string seed = fmt::format("${}::pg_catalog.int8", parameter);
    std::string out = seed;
    // A column that is NULL, which only a version may be, has no hash.
    for (const std::string& column : side.columns)
        out =
            fmt::format("coalesce(pg_catalog.hashtextextended(({})::pg_catalog.text COLLATE \"C\", {}), {})", column, out, seed);
    return out;
}

Statement digest_of(const Side& side, const std::string& name, int groups) {
    const std::string hash = hash_of(side, side.params.values().size() + 1);
    if (groups == 1)
        return {name + "_digest", fmt::format("SELECT 0, pg_catalog.count(*), pg_catalog.sum({}) FROM {}", hash, side.from)};
    // OFFSET 0, lest it be computed once for each mention.
    return {name + "_digests",
            fmt::format("SELECT x.h & {}, pg_catalog.count(*), pg_catalog.sum(x.h) FROM (SELECT {} AS h FROM {}"
                        " OFFSET 0) x GROUP BY 1",
                        groups - 1, hash, side.from)};
}

Digests digests_in(const Rows& rows) {
    Digests out;
    for (int i = 0; i < rows.size(); ++i) out[rows.i64(i, 0)] = {rows.i64(i, 1), rows.text(i, 2)};
    return out;
}

// Key columns as one text that no other key has.
std::string packed(const Rows& rows, int row, std::size_t n) {
    if (n == 1) return rows.text(row, 0);
    std::string out;
    for (std::size_t i = 0; i < n; ++i) {
        const std::string_view part = rows.view(row, static_cast<int>(i));
        out += fmt::format("{}:{}", part.size(), part);
    }
    return out;
}

class Comparison {
public:
    Comparison(Transaction& tx, const SourceShape& source, const Revision& revision, const SliceRange& range,
               const SliceOutset& outset)
        : ours_(tx),
          theirs_(tx.source(source.reader)),
          n_(source.key.size()),
          name_(fmt::format("{}_{}", revision.tables.prefix, range.name)),
          source_(source_side(source, range)),
          documents_(document_side(source, revision, range)),
          outset_(outset) {}

    SliceDrift run() {
        if (!outset_.stored) {
            const Rows rows = theirs_.exec(rows_of(source_, false), source_.params);
            sort_out(rows, Rows());
            out_.source_rows = rows.size();
            return std::move(out_);
        }
        const auto [source, documents] = digests(1);
        out_.source_rows = count_of(source);
        out_.document_rows = count_of(documents);
        if (source == documents) return std::move(out_);
        // With nothing on one side no group is like another.
        std::vector<std::int64_t> groups;
        const bool all = out_.source_rows == 0 || out_.document_rows == 0;
        if (!all) groups = differing();
        read_rows(all ? nullptr : &groups);
        return std::move(out_);
    }

private:
    static std::int64_t count_of(const Digests& digests) { return digests.empty() ? 0 : digests.begin()->second.first; }

    std::pair<Digests, Digests> digests(int groups) {
        const auto seeded = [&](const Side& side) {
            Params params = side.params;
            params.add(outset_.seed);
            return params;
        };
        const auto [source, documents] = both([&](const Side& side) { return digest_of(side, name_, groups); }, seeded);
        return {digests_in(source), digests_in(documents)};
    }

    // Of the source and of the documents, while the other is read: the answer of a slice takes as long as that of its slower
    // side.
    template <class Ask, class Given>
    std::pair<Rows, Rows> both(Ask statement, Given params) {
        theirs_.ask(statement(source_), params(source_));
        Rows documents = ours_.exec(statement(documents_), params(documents_));
        return {theirs_.answer(), std::move(documents)};
    }

    std::vector<std::int64_t> differing() {
        const auto [source, documents] = digests(kGroups);
        std::vector<std::int64_t> out;
        for (std::int64_t g = 0; g < kGroups; ++g) {
            const auto a = source.find(g);
            const auto b = documents.find(g);
            const bool same =
                a == source.end() || b == documents.end() ? a == source.end() && b == documents.end() : a->second == b->second;
            if (!same) out.push_back(g);
        }
        return out;
    }

    Statement rows_of(const Side& side, bool grouped) const {
        const std::size_t seed = side.params.values().size() + 1;
        return {fmt::format("{}_{}", name_, grouped ? "rows_of" : "rows"),
                fmt::format("SELECT {} FROM {}{} ORDER BY {}", side.texts, side.from,
                            grouped ? fmt::format(" AND {} & {} = ANY (${}::pg_catalog.int8[])", hash_of(side, seed), kGroups - 1,
                                                  seed + 1)
                                    : "",
                            side.order)};
    }

    // All, where no groups are named.
    void read_rows(const std::vector<std::int64_t>* groups) {
        const auto chosen = [&](const Side& side) {
            Params params = side.params;
            if (groups != nullptr) params.add(outset_.seed).bytes(binary_array(*groups));
            return params;
        };
        const auto [source, documents] = both([&](const Side& side) { return rows_of(side, groups != nullptr); }, chosen);
        sort_out(source, documents);
    }

    void sort_out(const Rows& source, const Rows& documents) {
        struct Stored {
            int row;
            bool met = false;
        };
        const auto n = static_cast<int>(n_);
        std::unordered_map<std::string, Stored> stored;
        stored.reserve(static_cast<std::size_t>(documents.size()));
        for (int i = 0; i < documents.size(); ++i) stored.emplace(packed(documents, i, n_), Stored{.row = i});
        const auto key_at = [&](const Rows& rows, int row) {
            Key key;
            for (int i = 0; i < n; ++i) key.push_back(rows.text(row, i));
            return key;
        };
        for (int i = 0; i < source.size(); ++i) {
            const auto found = stored.find(packed(source, i, n_));
            if (found == stored.end()) {
                out_.missing.push_back(key_at(source, i));
                continue;
            }
            found->second.met = true;
            const int d = found->second.row;
            if (source.null(i, n) != documents.null(d, n) || source.view(i, n) != documents.view(d, n))
                out_.changed.push_back({.key = key_at(source, i), .document_id = documents.i64(d, n + 1)});
        }
        for (int i = 0; i < documents.size(); ++i) {
            if (stored.at(packed(documents, i, n_)).met) continue;
            out_.gone.push_back(
                {.cls = DriftClass::orphaned, .key = key_at(documents, i), .document_id = documents.i64(i, n + 1)});
        }
    }

    Transaction& ours_;
    Transaction& theirs_;
    const std::size_t n_;
    const std::string name_;
    const Side source_;
    const Side documents_;
    const SliceOutset& outset_;
    SliceDrift out_;
};

}  // namespace

bool comparable_apart(const SourceShape& source) {
    // As ColumnShape::exact has it of a key.
    static constexpr std::array<std::string_view, 12> kExact{"xid",
                                                             "smallint",
                                                             "integer",
                                                             "bigint",
                                                             "boolean",
                                                             "uuid",
                                                             "date",
                                                             "timestamp without time zone",
                                                             "text",
                                                             "bytea",
                                                             "timestamp with time zone",
                                                             "character varying"};
    return source.version != VersionKind::hash && std::find(kExact.begin(), kExact.end(), source.version_type) != kExact.end() &&
           std::all_of(source.key.begin(), source.key.end(), [](const ColumnShape& c) { return c.exact; });
}

SliceOutset slice_outset(Transaction& tx, const Revision& revision, const std::string& name, const std::string& documents,
                         const Params& of_documents) {
    const Rows rows =
        tx.exec({fmt::format("{}_{}_outset", revision.tables.prefix, name), fmt::format(R"sql(
        SELECT EXISTS (SELECT FROM {} d WHERE {}), hashtextextended(gen_random_uuid()::text, 0))sql",
                                                                                        revision.tables.document, documents)},
                of_documents);
    return {.stored = rows.boolean(0, 0), .seed = rows.i64(0, 1)};
}

SliceDrift compare_apart(Transaction& tx, const SourceShape& source, const Revision& revision, const SliceRange& range,
                         const SliceOutset& outset) {
    return Comparison(tx, source, revision, range, outset).run();
}

}  // namespace homeostat
