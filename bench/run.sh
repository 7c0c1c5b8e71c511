#!/usr/bin/env bash
# Runs every measurement and prints one table. Needs a build with bench/ in it; nothing else should be running.
#   bench/run.sh [BUILD-FOLDER]      (default build/bench, built here with the release settings)
set -euo pipefail
cd "$(dirname "$0")/.."

BUILD=${1:-build/bench}
if [ $# -eq 0 ]; then
    cmake --preset release -B "$BUILD" -DHOMEOSTAT_TESTS=ON --log-level=WARNING
    cmake --build "$BUILD" --target backfill feed scale many recovery outages repeats providers local_model homeostat homeostat_fake_endpoint
fi

load=$(cut -d ' ' -f 1 /proc/loadavg)
echo "load before: $load, cores: $(nproc)"
echo "| what | homeostat | compared with | ratio |"
echo "| --- | --- | --- | --- |"
"$BUILD/bench/backfill" all | grep '^|'
"$BUILD/bench/feed" 60 "$(cat .deps/pg/bindir)/pgbench" | grep '^|'
"$BUILD/bench/scale" 1000000 | grep '^|'
"$BUILD/bench/many" 1000 300 | grep '^|'
"$BUILD/bench/recovery" | grep '^|'
"$BUILD/bench/outages" | grep '^|'
"$BUILD/bench/repeats" | grep '^|'
"$BUILD/bench/providers" | grep '^|'
bench/local_model.sh "$BUILD/bench/local_model"
