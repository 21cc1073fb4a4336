#!/usr/bin/env bash
# Measures hgcache against the limits of this machine and against nginx.
#
#   bench/run.sh [--quick] [--gate] [--rounds N] [--seconds N] [WORK...]
#
#   --quick    one round                --gate     exit 1 when a target is missed
#   --rounds   interleaved rounds (5)   --seconds  of each measurement (3)
#   WORK       P1 P2 P3 P4 P5 P6 P7 P8 P9 P10 P11 P12 P14; without one all of them
#
# Prints medians and ratios of the same round, and writes them to build/bench.json.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh build bench
mkdir -p build
if ! { cmake --preset release && cmake --build --preset release -- -j"$(nproc)"; } >build/bench-build.log 2>&1; then
    tail -n 40 build/bench-build.log >&2
    echo "bench/run.sh: the build failed (build/bench-build.log)" >&2
    exit 1
fi
ulimit -n "$(ulimit -Hn)" 2>/dev/null || true
# The servers have sessions of their own; an end by Ctrl-C must not leave them behind.
rm -f build/bench.pids
stop_servers() {
    [ ! -e build/bench.pids ] || kill -KILL $(cat build/bench.pids) 2>/dev/null || true
    rm -f build/bench.pids
}
trap stop_servers EXIT
trap 'exit 1' INT TERM HUP
luajit bench/run.lua "$@" &
wait $!
