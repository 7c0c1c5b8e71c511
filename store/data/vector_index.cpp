#include "store/data/vector_index.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "core/fault_point.hpp"
#include "store/pg/row_reader.hpp"

namespace homeostat {

namespace {

// What an index was made of is told by its own column: its type, and how wide that is.
const Statement kIndex{"vector_index", R"sql(
    SELECT i.indisvalid AND i.indisready, am.amname, oc.opcname, t.typname, greatest(a.atttypmod, 0),
        (SELECT o.option_value::int FROM pg_options_to_table(c.reloptions) o WHERE o.option_name = 'm'),
        (SELECT o.option_value::int FROM pg_options_to_table(c.reloptions) o WHERE o.option_name = 'ef_construction'),
        (SELECT o.option_value::int FROM pg_options_to_table(c.reloptions) o WHERE o.option_name = 'lists'),
        (SELECT v.atttypmod FROM pg_attribute v WHERE v.attrelid = i.indrelid AND v.attname = 'embedding' AND NOT v.attisdropped)
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am am ON am.oid = c.relam
    JOIN pg_opclass oc ON oc.oid = i.indclass[0]
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = 1 JOIN pg_type t ON t.oid = a.atttypid
    WHERE i.indexrelid = to_regclass($1))sql"};

const Statement kLeft{"vector_index_left", "SELECT to_regclass($1) IS NOT NULL OR to_regclass($2) IS NOT NULL"};

// Chunks whose vectors are indexed in some ten milliseconds.
constexpr std::int64_t kSmallIndex = 100;
constexpr std::int64_t kMostLists = 32'768;

// The one that is used, the one that is built beside it, and the one before, which is about to go.
std::string index_name(const RevisionTables& t) { return t.prefix + "_chunk_embedding"; }
std::string next_name(const RevisionTables& t) { return t.prefix + "_chunk_embedding_next"; }
std::string last_name(const RevisionTables& t) { return t.prefix + "_chunk_embedding_last"; }

std::string in_data(const std::string& name) { return "homeostat_data." + name; }

std::string_view type_word(VectorType type) { return type == VectorType::vector ? "vector" : "halfvec"; }

IndexShape declared_shape(const PipelineSpec& spec, const RevisionSettings& s) {
    IndexShape shape;
    if (spec.index_method == "none") return shape;
    shape.method = spec.index_method;
    shape.dimensions = std::min(spec.index_dimensions.value_or(s.dimensions), s.dimensions);
    shape.part = spec.index_type == "bit"          ? IndexPart::bits
                 : shape.dimensions < s.dimensions ? IndexPart::prefix
                                                   : IndexPart::whole;
    const std::string_view distance = spec.distance == "l2" ? "l2" : spec.distance == "inner_product" ? "ip" : "cosine";
    shape.opclass =
        shape.part == IndexPart::bits ? "bit_hamming_ops" : fmt::format("{}_{}_ops", type_word(s.vector_type), distance);
    shape.m = spec.index_m;
    shape.ef_construction = spec.index_ef_construction;
    shape.lists = spec.index_lists;
    return shape;
}

struct Found {
    bool there = false;
    bool usable = false;
    IndexShape shape;
};

Found found_at(const Rows& rows) {
    Found found;
    if (rows.empty()) return found;
    RowReader c(rows, 0);
    found.there = true;
    found.usable = c.boolean();
    IndexShape& shape = found.shape;
    shape.method = c.text();
    shape.opclass = c.text();
    const bool bits = c.view() == "bit";
    shape.dimensions = c.integer<std::uint32_t>();
    shape.m = c.maybe_integer<std::uint32_t>();
    shape.ef_construction = c.maybe_integer<std::uint32_t>();
    shape.lists = c.maybe_integer<std::uint32_t>();
    const auto width = c.maybe_integer<std::uint32_t>().value_or(0);
    shape.part = bits ? IndexPart::bits : shape.dimensions < width ? IndexPart::prefix : IndexPart::whole;
    return found;
}

// How many lists follow from how many vectors there were is not looked at again.
bool as_declared(const Found& found, const IndexShape& declared) {
    IndexShape there = found.shape;
    if (!declared.lists) there.lists.reset();
    return found.usable && there == declared;
}

std::string definition(Session& session, const std::string& name, const IndexShape& shape, const Revision& revision,
                       const VectorExtension& vectors) {
    std::string with;
    const auto add = [&](std::string_view option, std::int64_t value) {
        with += fmt::format("{}{} = {}", with.empty() ? "" : ", ", option, value);
    };
    if (shape.m) add("m", *shape.m);
    if (shape.ef_construction) add("ef_construction", *shape.ef_construction);
    if (shape.lists) add("lists", *shape.lists);
    // ivfflat wants about a thousand rows a list; hnsw's own defaults (16, 64) are what its authors advise.
    if (shape.method == "ivfflat" && !shape.lists) {
        const Rows rows = session.exec(fmt::format("SELECT greatest(1, count(*) / 1000) FROM {}", revision.tables.chunk));
        add("lists", std::min<std::int64_t>(rows.i64(0, 0), kMostLists));
    }
    const VectorType type = revision.settings.vector_type;
    const std::string plain = fmt::format("embedding::{}.{}", vectors.schema, type_word(type));
    const std::string part = shape.part == IndexPart::whole ? "embedding" : "(" + indexed_part(shape, type, vectors, plain) + ")";
    return fmt::format("{} ON {} USING {} ({} {}.{}){}", name, revision.tables.chunk, shape.method, part, vectors.schema,
                       shape.opclass, with.empty() ? "" : " WITH (" + with + ")");
}

// One that an interrupted build has left is used where it is whole and as it is wanted.
void build_next(Session& session, const IndexShape& shape, const Revision& revision, const VectorExtension& vectors,
                const std::function<void(const std::string&)>& drop) {
    const std::string name = next_name(revision.tables);
    const Found left = found_at(session.exec(kIndex, Params::of(in_data(name))));
    if (as_declared(left, shape)) return;
    if (left.there) drop(name);
    session.exec("CREATE INDEX CONCURRENTLY " + definition(session, name, shape, revision, vectors));
}

}  // namespace

std::string indexed_part(const IndexShape& shape, VectorType type, const VectorExtension& v, std::string_view vector) {
    const std::string prefix = fmt::format("{}.subvector({}, 1, {})", v.schema, vector, shape.dimensions);
    switch (shape.part) {
        case IndexPart::whole: break;
        case IndexPart::prefix: return fmt::format("({})::{}.{}({})", prefix, v.schema, type_word(type), shape.dimensions);
        // All bits of a vector that is cut first: what an index of all of them and of some of them look like is one thing.
        case IndexPart::bits:
            return fmt::format("({}.binary_quantize({}))::pg_catalog.bit({})", v.schema, prefix, shape.dimensions);
    }
    return std::string(vector);
}

IndexShape index_there(Transaction& tx, const Revision& revision) {
    const Found found = found_at(tx.exec(kIndex, Params::of(in_data(index_name(revision.tables)))));
    return found.usable ? found.shape : IndexShape{};
}

Result<IndexState> index_state(Session& session, const PipelineSpec& spec, const Revision& revision) {
    return guarded([&] {
        const Found found = found_at(session.exec(kIndex, Params::of(in_data(index_name(revision.tables)))));
        const bool left =
            session.exec(kLeft, Params::of(in_data(next_name(revision.tables)), in_data(last_name(revision.tables))))
                .boolean(0, 0);
        if (spec.index_method == "none") return found.there || left ? IndexState::unwanted : IndexState::valid;
        if (!found.there) return IndexState::absent;
        if (!found.usable) return IndexState::invalid;
        if (!as_declared(found, declared_shape(spec, revision.settings))) return IndexState::other;
        return left ? IndexState::left_over : IndexState::valid;
    });
}

Result<bool> build_small_index(Session& session, const PipelineSpec& spec, const Revision& revision,
                               const VectorExtension& vectors) {
    return guarded([&] {
        const Rows rows =
            session.exec(fmt::format("SELECT count(*) FROM (SELECT FROM {} LIMIT {}) c", revision.tables.chunk, kSmallIndex + 1));
        if (spec.index_method == "none" || rows.i64(0, 0) > kSmallIndex) return false;
        session.exec("CREATE INDEX IF NOT EXISTS " + definition(session, index_name(revision.tables),
                                                                declared_shape(spec, revision.settings), revision, vectors));
        return true;
    });
}

Status build_index(Session& session, const PipelineSpec& spec, const Revision& revision, const VectorExtension& vectors,
                   const std::function<void(Transaction&)>& swapped) {
    return guarded([&] {
        const RevisionTables& t = revision.tables;
        // Behind a pooler they would stay with whoever is given the server's session next.
        if (session.server().pid != 0) session.exec("SET statement_timeout = 0");
        if (session.server().pid != 0) session.exec("SET lock_timeout = 0");
        const auto drop = [&](const std::string& name) { session.exec("DROP INDEX CONCURRENTLY IF EXISTS " + in_data(name)); };
        drop(last_name(t));
        const bool wanted = spec.index_method != "none";
        const Found used = found_at(session.exec(kIndex, Params::of(in_data(index_name(t)))));
        if (wanted && as_declared(used, declared_shape(spec, revision.settings))) return drop(next_name(t));
        if (wanted) {
            build_next(session, declared_shape(spec, revision.settings), revision, vectors, drop);
        } else {
            drop(next_name(t));
        }
        HOMEOSTAT_REACH("index.before_swap");
        {
            // Neither waits for a searcher, nor does one for it.
            Transaction tx = session.begin();
            tx.exec(fmt::format("ALTER INDEX IF EXISTS {} RENAME TO {}", in_data(index_name(t)), last_name(t)));
            if (wanted) tx.exec(fmt::format("ALTER INDEX {} RENAME TO {}", in_data(next_name(t)), index_name(t)));
            swapped(tx);
            tx.commit();
        }
        HOMEOSTAT_REACH("index.after_swap");
        drop(last_name(t));
    });
}

}  // namespace homeostat
