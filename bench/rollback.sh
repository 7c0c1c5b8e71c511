#!/usr/bin/env bash
# What a rollback costs beside the run that it undoes: documents are filled, some are edited and healed by one run, and that run is
# rolled back. Says how long each took, and whether what is stored is what it was, byte for byte.
#   bench/rollback.sh DATABASE-URL [HOMEOSTAT] [DOCUMENTS] [EDITED]      (an empty database; default build/bench/homeostat, 50000, 20000)
set -euo pipefail
cd "$(dirname "$0")/.."

export HOMEOSTAT_DATABASE_URL=$1
HOMEOSTAT=${2:-build/bench/homeostat}
DOCUMENTS=${3:-50000}
EDITED=${4:-20000}

sql() { psql -XqAt -v ON_ERROR_STOP=1 "$HOMEOSTAT_DATABASE_URL" -c "$1"; }
stored() {
    sql "SELECT md5(string_agg(d::text, '|' ORDER BY d.document_id)) FROM homeostat_data.p1_r1_document d"
    sql "SELECT md5(string_agg(md5(c::text), '|' ORDER BY c.document_id, c.number)) FROM homeostat_data.p1_r1_chunk c"
}
once() { "$HOMEOSTAT" run --once >/dev/null || [ $? -eq 1 ]; }
timed() {
    local began
    began=$(date +%s.%N)
    "$@"
    awk -v a="$began" -v b="$(date +%s.%N)" 'BEGIN {printf "%.2f", b - a}'
}

echo "load before: $(cut -d ' ' -f 1 /proc/loadavg), cores: $(nproc)"
"$HOMEOSTAT" migrate up >/dev/null
sql "CREATE TABLE docs (id bigint PRIMARY KEY, body text);
     INSERT INTO docs SELECT i, (SELECT string_agg(format('Sentence %s of document %s has its own words.', j, i), ' ')
         FROM generate_series(1, 12) j) FROM generate_series(1, $DOCUMENTS) i;
     INSERT INTO homeostat.pipeline (name, source, content, provider, dimensions, target, chunk_size)
         VALUES ('docs', 'docs', 'body', 'hashing', 384, 'public.docs_embeddings', 60)"
once
before=$(stored)
sql "UPDATE docs SET body = 'Edited. ' || body WHERE id <= $EDITED"
run=$(timed once)
"$HOMEOSTAT" rollback docs --no-wait >/dev/null
rollback=$(timed once)
after=$(stored)
echo "| documents | edited | the run | its rollback | ratio | what is stored |"
echo "| --- | --- | --- | --- | --- | --- |"
echo "| $DOCUMENTS | $EDITED | $run s | $rollback s | $(awk -v a="$rollback" -v b="$run" 'BEGIN {printf "%.2f x", a / b}') |" \
    "$([ "$before" = "$after" ] && echo equal || echo DIFFERENT) |"
echo "load after: $(cut -d ' ' -f 1 /proc/loadavg)"
