#!/usr/bin/env bash
# What a login of its own for sources costs (database.reader_url): backfill, sweep and the freshness of single edits without it and
# with it, turn about in one run; medians and their ratio.
#   bench/reader.sh [BUILD-FOLDER] [TURNS] [DOCUMENTS]      (default build/bench, 5, 50000)
set -euo pipefail
cd "$(dirname "$0")/.."

BUILD=${1:-build/bench}
TURNS=${2:-5}
DOCUMENTS=${3:-50000}

results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT

# Of the row of a table that names $1: the first number of its second column.
row() { grep "^|.*$1" | head -n 1 | cut -d '|' -f 3 | sed 's/p50//' | grep -oE '[0-9]+(\.[0-9]+)?' | head -n 1; }

turn() {
    local output
    output=$("$BUILD/bench/backfill" backfill "$DOCUMENTS" 1)
    row backfill <<<"$output" >>"$results/backfill.$1"
    row sweep <<<"$output" >>"$results/sweep.$1"
    "$BUILD/bench/feed" 0 | row edit >>"$results/edit.$1"
}

median() { sort -n "$1" | awk '{v[NR] = $1} END {print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2}'; }

echo "load before: $(cut -d ' ' -f 1 /proc/loadavg), cores: $(nproc)"
for _ in $(seq "$TURNS"); do
    (unset BENCH_READER && turn without)
    (export BENCH_READER=1 && turn with)
done
echo "| what | with a reader | without | ratio |"
echo "| --- | --- | --- | --- |"
for what in backfill sweep edit; do
    with=$(median "$results/$what.with")
    without=$(median "$results/$what.without")
    echo "| $what | $with | $without | $(awk -v a="$with" -v b="$without" 'BEGIN {printf "%.2f x", a / b}') |"
done
echo "load after: $(cut -d ' ' -f 1 /proc/loadavg)"
