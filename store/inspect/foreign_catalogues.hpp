// What other tools that keep embeddings in PostgreSQL have in their catalogues: pgai (ai.vectorizer), pgEdge's vectorizer
// (pgedge_vectorizer.vectorizers), and a table of vectors by itself. As it stands there, of every release of theirs that is
// known; what is made of it is said elsewhere. Only reads, with the rights of whoever asks, in a transaction of the caller's
// whose search_path is that of a person.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "store/pg/session.hpp"

namespace homeostat {

struct ForeignVectorizer {
    std::string name;
    std::string source;                // quoted, schema-qualified; "" where it is not there any more
    std::string source_named;          // as the catalogue names it
    std::vector<std::string> key;
    std::string content;               // column
    std::string loading = "column";    // how content is had: column, uri, …
    std::string parsing = "none";
    std::string chunking;              // the tool's own word; "none": not cut
    std::optional<std::int64_t> chunk_size, chunk_overlap;
    std::string format = "$chunk";     // of what is embedded
    std::string embedding;             // the tool's own word: openai, ollama, …
    std::string model;
    std::optional<std::int64_t> dimensions;
    std::string base_url, api_key_name, api_key_file, input_type;
    std::string further;               // options of the embedding that are none of these, as JSON; "" = none
    std::string indexing, opclass;     // "" = not said
    std::optional<std::int64_t> m, ef_construction;
    bool disabled = false;
    // Where its vectors are.
    std::string sink;                  // quoted, schema-qualified; "" where it is not there any more
    std::string sink_named;
    std::vector<std::string> sink_key;
    std::string vector_column, chunk_column, text_column;  // "" = none
};

// Class not_found, with a sentence, where the catalogue is not in this database.
Result<std::vector<ForeignVectorizer>> read_pgai(Transaction& tx);
Result<std::vector<ForeignVectorizer>> read_pgedge(Transaction& tx);
// A table of five columns: the document's key, the number of the chunk, its text, its vector, a time. They are told apart by
// their types, and where those do not tell, by their order. Class invalid where it is none such.
Result<ForeignVectorizer> read_sink(Transaction& tx, const std::string& relation);

}  // namespace homeostat
