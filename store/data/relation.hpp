// What a source looks like to SQL: its relation, key, content expression and version, read from the catalog and quoted once.
// Everything that names a column of the user's in a statement comes from here.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/resource.hpp"
#include "store/pg/session.hpp"

namespace homeostat {

struct ColumnShape {
    std::string name;     // as the user wrote it
    std::string quoted;   // as an identifier
    std::string type;     // as format_type gives it, schema-qualified where needed
    std::string collate;  // " COLLATE ..." where it is not the type's own, else ""
    bool not_null = false;
    std::string wide;     // the type without what may be lifted from it later: its length, or that it is a short integer
    bool exact = false;   // equal values have equal texts
    bool fixed = false;   // all values have one length, and that is short
};

// How a change of a row is noticed without reading its text. `xmin` costs nothing and needs no column; `column` is the user's
// promise; `hash` reads the content of every row.
enum class VersionKind : std::uint8_t { xmin, column, hash };

struct SourceShape {
    std::string relation;               // quoted, schema-qualified
    std::string described;              // "view public.articles": for messages
    char kind = 'r';                    // pg_class.relkind
    std::vector<ColumnShape> key;
    std::vector<ColumnShape> metadata;
    std::string body;                   // the text of the document: expression over alias s; never NULL
    std::string content;                // all that its vectors are made of: the text, and before it its chunks' context
    bool in_context = false;            // where there is one, it ends with kContextMark
    VersionKind version = VersionKind::hash;
    std::string version_sql;            // expression over alias s
    std::string version_type;           // type of document.source_version
    bool fixed_version = true;          // all values of it have one length, and that is short
    bool unique_key = false;            // the catalog promises one row a key
    bool nullable_key = false;
    double estimated_rows = 0;          // of the planner; a hint for messages and progress only
    std::string filtered;               // "table public.articles": of which a policy hides rows from us, and that is accepted
    std::string search_path;            // schemas whose operators the key types need, "" where pg_catalog is enough
    SourceReader reader;                // the login that reads it
    std::string hashed_in = "UTF8";     // the encoding of a text whose hash is taken

    // Fragments. `alias` is the table alias in the statement.
    std::string key_list(std::string_view alias) const;         // s."a", s."b"
    std::string key_row(std::string_view alias) const;          // ROW(s."a", s."b")
    std::string key_text_list(std::string_view alias) const;    // s."a"::text, s."b"::text
    // The same where a subquery of ours calls the columns k1, k2, …, and m1, m2, …, so that no name of the user's meets one of
    // ours.
    SourceShape renamed() const;
    std::string content_hash() const { return hash_of(content); }
    std::string hash_of(std::string_view text) const;
};

// No text that comes from us holds it before the text of the document.
inline constexpr char kContextMark = '\x1f';

// The code of the error where a policy hides rows of the source and that is not accepted.
inline constexpr std::string_view kSourceFiltered = "SourceFiltered";

// Reads the catalog. Errors (class db_permanent or not_found, a sentence naming relation or column): the relation or a column
// is gone, the right to read is missing.
Result<SourceShape> inspect_source(Transaction& tx, const PipelineSpec& spec);

// The extension's schema (quoted) and type OIDs in this database.
struct VectorExtension {
    std::string schema;
    std::string version;
    std::uint32_t vector_oid = 0;
    std::uint32_t halfvec_oid = 0;
};
Result<VectorExtension> find_vector_extension(Transaction& tx);

}  // namespace homeostat
