#!/usr/bin/env bash
# What an index over a prefix, or over bits, is worth on real vectors: the built-in model over descriptions of Debian packages. Size
# against the whole vectors' index of the same database, and recall@10 of TARGET_search against exact search, over 200 queries.
#   bench/index_recall.sh DATABASE_URL [BUILD-FOLDER] [DOCUMENTS]      (default build/bench, 50000: as many as apt-cache knows, if fewer)
set -euo pipefail
cd "$(dirname "$0")/.."

URL=$1
BUILD=${2:-build/bench}
DOCUMENTS=${3:-50000}
QUERIES=200
sql() { psql -XqAt -v ON_ERROR_STOP=1 "$URL" "$@"; }
export HOMEOSTAT_DATABASE_URL=$URL HOMEOSTAT_DATABASE_ALLOW_SUPERUSER=true HOMEOSTAT_LOG_LEVEL=warn
export HOMEOSTAT_EMBED_MODEL_DIR=${HOMEOSTAT_EMBED_MODEL_DIR:-$PWD/.deps/model}

sql -c 'CREATE EXTENSION IF NOT EXISTS vector'
"$BUILD/homeostat" migrate up >/dev/null
sql -c 'CREATE TABLE docs (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body text)'
apt-cache dumpavail | awk '/^Package:/ {p = $2} /^Description(-en)?:/ {sub(/^Description(-en)?: */, ""); print p ": " $0}' |
    sort -u | awk -v n="$DOCUMENTS" 'NR <= n' | tr -d '\\\t' | sql -c 'COPY docs (body) FROM STDIN'
sql -c "INSERT INTO homeostat.pipeline (name, source, content, provider, target, chunker, drift_interval)
        VALUES ('docs', 'docs', 'body', 'local', 'public.docs_embeddings', 'whole', '1 day')"
"$BUILD/homeostat" run --once >/dev/null
whole=$(sql -c "SELECT pg_relation_size('homeostat_data.p1_r1_chunk_embedding')")
echo "$(sql -c 'SELECT count(*) FROM docs_embeddings') vectors of 512 numbers; the whole vectors' index: $((whole >> 20)) MiB"
# The answers that are right, by the whole vectors and without an index.
sql -c "CREATE TABLE query AS SELECT id, embedding FROM docs_embeddings ORDER BY md5(id::text) LIMIT $QUERIES;
        SET enable_indexscan = off; SET max_parallel_workers_per_gather = 0;
        CREATE TABLE nearest AS SELECT q.id AS query, n.id FROM query q, LATERAL (
            SELECT v.id FROM docs_embeddings v ORDER BY v.embedding <=> q.embedding, v.id LIMIT 10) n"

echo "| index | size | smaller | recall@10 |"
echo "| --- | --- | --- | --- |"
try() {  # NAME SET
    sql -c "UPDATE homeostat.pipeline SET index_type = 'vector', index_dimensions = NULL, index_m = NULL, index_ef_construction = NULL,
            index_lists = NULL, index_method = 'hnsw'; UPDATE homeostat.pipeline SET $2"
    "$BUILD/homeostat" run --once >/dev/null 2>&1
    local size recall
    size=$(sql -c "SELECT pg_relation_size('homeostat_data.p1_r1_chunk_embedding')")
    recall=$(sql -c "SELECT round(avg((n.distance <= w.furthest + 1e-6)::int * 1.0), 4) FROM (
        SELECT q.id, q.embedding, (SELECT max(v.embedding <=> q.embedding) FROM nearest x JOIN docs_embeddings v ON v.id = x.id
                                   WHERE x.query = q.id) AS furthest FROM query q) w,
        LATERAL (SELECT distance FROM docs_embeddings_search(w.embedding, 10)) n")
    echo "| $1 | $((size >> 10)) KiB | $(awk -v a="$whole" -v b="$size" 'BEGIN {printf "%.1f x", a / b}') | $recall |"
}
try "prefix of 128, hnsw" "index_dimensions = 128"
try "prefix of 256, hnsw" "index_dimensions = 256"
try "bits, hnsw" "index_type = 'bit'"
try "bits, hnsw, m = 5" "index_type = 'bit', index_m = 5"
try "bits, ivfflat" "index_type = 'bit', index_method = 'ivfflat'"
try "bits of 256, ivfflat" "index_type = 'bit', index_method = 'ivfflat', index_dimensions = 256"
