#!/usr/bin/env bash
# What an UPDATE of a counter pays for the triggers of a change feed where the texts beside it are large: the same statement on the
# captured table and on a copy without triggers, turn about, in sessions of their own, by what EXPLAIN ANALYZE says; medians. And what
# the triggers read of the texts that are kept apart of their rows (scans of the TOAST index; none is what it should be).
#   bench/toasted.sh DATABASE-URL [HOMEOSTAT] [ROUNDS]      (an empty database; default build/bench/homeostat, 9)
set -euo pipefail
cd "$(dirname "$0")/.."

export HOMEOSTAT_DATABASE_URL=$1
HOMEOSTAT=${2:-build/bench/homeostat}
ROUNDS=${3:-9}

sql() { psql -XqAt -v ON_ERROR_STOP=1 "$HOMEOSTAT_DATABASE_URL" -c "$1"; }
took() { sql "EXPLAIN (ANALYZE, TIMING OFF, SUMMARY ON) UPDATE $1 SET n = n + 1" | sed -n 's/^Execution Time: \(.*\) ms$/\1/p'; }
median() { sort -n | awk '{v[NR] = $1} END {print v[int((NR + 1) / 2)]}'; }
scans() {
    sql "BEGIN; UPDATE captured SET n = n + 1; SELECT pg_stat_get_xact_numscans(i.indexrelid) FROM pg_class c
        JOIN pg_index i ON i.indrelid = c.reltoastrelid WHERE c.oid = 'captured'::regclass; ROLLBACK"
}

# Bytes of a text, rows, and the times and reads of one UPDATE of all counters.
measure() {
    sql "DELETE FROM captured; INSERT INTO captured SELECT i, (SELECT left(string_agg(md5(i || 'x' || g), ''), $1)
            FROM generate_series(1, $1 / 32 + 1) g), 0 FROM generate_series(1, $2) i;
         TRUNCATE bare; INSERT INTO bare SELECT * FROM captured"
    sql "VACUUM ANALYZE captured"
    sql "VACUUM ANALYZE bare"
    "$HOMEOSTAT" run --once >/dev/null 2>&1 || true
    sql "SELECT setval('homeostat_data.p1_full', 1)" >/dev/null
    local with="" without=""
    for _ in $(seq "$ROUNDS"); do
        with+=$(took captured)$'\n'
        without+=$(took bare)$'\n'
    done
    local a b
    a=$(printf %s "$with" | median)
    b=$(printf %s "$without" | median)
    echo "| $1 | $2 | $a ms | $b ms | $(awk -v a="$a" -v b="$b" 'BEGIN {printf "%.1f x", a / b}') | $(scans) |"
}

echo "load before: $(cut -d ' ' -f 1 /proc/loadavg), cores: $(nproc)"
"$HOMEOSTAT" migrate up >/dev/null
sql "CREATE TABLE captured (id int PRIMARY KEY, body text, n int); CREATE TABLE bare (id int PRIMARY KEY, body text, n int);
     INSERT INTO captured VALUES (0, 'x', 0);
     INSERT INTO homeostat.pipeline (name, source, content, provider, dimensions, target, chunker, max_prune_ratio)
         VALUES ('captured', 'captured', 'body', 'hashing', 16, 'public.captured_embeddings', 'whole', 1)"
"$HOMEOSTAT" run >/dev/null 2>&1 &
running=$!
trap 'kill $running 2>/dev/null || true' EXIT
until [ "$(sql "SELECT count(*) FROM homeostat.condition WHERE type = 'ChangeFeed' AND reason = 'Active'")" = 1 ]; do sleep 0.2; done
kill $running
wait $running 2>/dev/null || true
echo "| bytes of a text | rows | with triggers | without | ratio | index scans of texts |"
echo "| --- | --- | --- | --- | --- | --- |"
measure 200 1000
measure 6000 1000
measure 100000 200
measure 1000000 50
echo "load after: $(cut -d ' ' -f 1 /proc/loadavg)"
