#!/usr/bin/env bash
# A model change on DOCUMENTS documents while 4 clients search and 2 edit, then back to the kept revision and on again: failed and empty
# searches, the longest search, and how soon an edit is searched before and during the fill.
#   bench/revisions.sh DATABASE_URL [BUILD-FOLDER] [DOCUMENTS]      (default build/bench, 50000)
# DATABASE_URL names an empty database whose role may make everything in it. A search fails where it waits 50 ms for a lock, finds
# fewer than ten, or meets vectors of two models (they differ in width, so that comparing them is an error).
set -euo pipefail
cd "$(dirname "$0")/.."

URL=$1
BUILD=${2:-build/bench}
DOCUMENTS=${3:-50000}
PGBENCH="$(cat .deps/pg/bindir)/pgbench"
work=$(mktemp -d)
pids=()
finish() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    rm -rf "$work"
}
trap finish EXIT

sql() { psql -XqAt -v ON_ERROR_STOP=1 "$URL" "$@"; }
export HOMEOSTAT_DATABASE_URL=$URL HOMEOSTAT_DATABASE_ALLOW_SUPERUSER=true HOMEOSTAT_LOG_LEVEL=warn
homeostat() { "$BUILD/homeostat" "$@"; }

endpoint() {  # NAME DIMENSIONS: its port
    "$BUILD/tests/kit/homeostat_fake_endpoint" --dimensions "$2" --delay-ms 5 >"$work/$1.port" 2>"$work/$1.log" &
    pids+=($!)
    until [ -s "$work/$1.port" ]; do sleep 0.05; done
    sql -c "INSERT INTO homeostat.provider (name, endpoint, model, dimensions, max_batch, max_in_flight)
            VALUES ('$1', 'http://127.0.0.1:$(cat "$work/$1.port")/v1', '$1', $2, 128, 4)"
}

sql -c 'CREATE EXTENSION IF NOT EXISTS vector'
homeostat migrate up >/dev/null
sql -c "CREATE TABLE docs (id int PRIMARY KEY, body text);
        INSERT INTO docs SELECT i, 'Document ' || i || ' says ' || md5(i::text) FROM generate_series(1, $DOCUMENTS) i"
endpoint before 64
endpoint after 96
sql -c "INSERT INTO homeostat.pipeline (name, source, content, provider, target, chunker, drift_interval, sweep_interval, max_prune_ratio)
        VALUES ('docs', 'docs', 'body', 'before', 'public.docs_embeddings', 'whole', '1 day', '30 days', 1)"
homeostat run --once >/dev/null
"$BUILD/homeostat" run 2>"$work/run.log" &
pids+=($!)
homeostat wait pipeline/docs --timeout 5m >/dev/null
until [ "$(sql -c "SELECT reason FROM homeostat.condition WHERE type = 'ChangeFeed'")" = Active ]; do sleep 0.2; done

cat >"$work/search.sql" <<SQL
\set id random(1, $DOCUMENTS)
SELECT 1 / (count(*) = 10)::int FROM (SELECT v.id FROM docs_embeddings v ORDER BY v.embedding <=>
    (SELECT w.embedding FROM docs_embeddings w WHERE w.id = :id LIMIT 1) LIMIT 10) s;
SQL
cat >"$work/edit.sql" <<SQL
\set id random(1, $DOCUMENTS - 100)
UPDATE docs SET body = 'Edited ' || md5(random()::text) WHERE id = :id;
SQL
# Until the view shows an edit of one of the last hundred documents, which nobody else edits: milliseconds, a line each.
edits() {  # COUNT
    for _ in $(seq "$1"); do
        sql -c "DO \$\$ DECLARE one int := $DOCUMENTS - trunc(random() * 100)::int; said text := 'Seen ' || md5(random()::text); began timestamptz;
                BEGIN
                    UPDATE docs SET body = said WHERE id = one; COMMIT; began := clock_timestamp();
                    LOOP EXIT WHEN EXISTS (SELECT FROM docs_embeddings WHERE id = one AND chunk_text = said); PERFORM pg_sleep(0.002); COMMIT; END LOOP;
                    RAISE NOTICE 'took %', extract(epoch FROM clock_timestamp() - began) * 1000;
                END \$\$" 2>&1 | sed -n 's/.*took //p'
    done
}
share() { sort -n | awk -v p="$1" '{v[NR] = $1} END {i = int(NR * p + 0.999); printf "%.0f", v[i < 1 ? 1 : i]}'; }

PGOPTIONS="-c lock_timeout=50ms" "$PGBENCH" -n -c 4 -j 1 -T 100000 -l --log-prefix="$work/search" -f "$work/search.sql" "$URL" >"$work/searchers" 2>&1 &
searchers=$!
pids+=("$searchers")
"$PGBENCH" -n -c 2 -R 20 -T 100000 -f "$work/edit.sql" "$URL" >"$work/editors" 2>&1 &
editors=$!
pids+=("$editors")

sleep 5
edits 60 >"$work/edits.before"
sql -c "UPDATE homeostat.pipeline SET provider = 'after'"
began=$(date +%s)
: >"$work/edits.during"
while [ "$(sql -c "SELECT model FROM homeostat.revision WHERE state = 'served'")" != after ]; do edits 3 >>"$work/edits.during"; done
fill=$(($(date +%s) - began))
sleep 3
asked=$(curl -s "http://127.0.0.1:$(cat "$work/before.port")/stats")
homeostat revisions docs activate 1 --timeout 2m
sleep 5
homeostat resume docs
until [ "$(sql -c "SELECT model FROM homeostat.revision WHERE state = 'served'")" = after ]; do sleep 0.5; done
kill "$searchers" "$editors" 2>/dev/null || true  # what runs in the background is deaf to SIGINT
wait "$searchers" 2>/dev/null || true
failed=$(grep -c 'ERROR' "$work/searchers" || true)
grep 'ERROR' "$work/searchers" | sort | uniq -c || true
searches=$(cat "$work"/search.[0-9]* 2>/dev/null | wc -l)
longest=$(cat "$work"/search.[0-9]* | awk '{print $3 / 1000}' | share 1)
echo "| what | figure |"
echo "| --- | --- |"
echo "| fill of $DOCUMENTS documents while 4 search and 2 edit | $fill s |"
echo "| searches; failed, empty or mixed | $searches; $failed |"
echo "| longest search, p99 | $longest ms, $(cat "$work"/search.[0-9]* | awk '{print $3 / 1000}' | share 0.99) ms |"
echo "| an edit until it is searched, p50 / p99, before | $(share 0.5 <"$work/edits.before") / $(share 0.99 <"$work/edits.before") ms |"
echo "| the same during the fill | $(share 0.5 <"$work/edits.during") / $(share 0.99 <"$work/edits.during") ms ($(wc -l <"$work/edits.during") edits) |"
echo "| endpoint of the first model when it was gone back to | $asked |"
