#!/usr/bin/env bash
# Builds the fuzz targets (preset fuzz, clang) and runs each for SECONDS, as many at a time as there are CPUs ($JOBS).
#
#   fuzz/run.sh [SECONDS] [TARGET...]        default: 60, all (config http1 peer_message query route trace)
#
# Seeds come from fuzz/corpus/TARGET; what is new is kept in build/fuzz/corpus/TARGET and used the next time. An input
# that fails lies in build/fuzz/found/; replay it with build/fuzz/fuzz/fuzz_TARGET FILE, mend, and add it to the corpus.
# The last line is `N targets passed, N failed`; the exit code is 1 when one failed.
set -uo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-60}
case "$seconds" in '' | *[!0-9]*) echo "usage: fuzz/run.sh [SECONDS] [TARGET...]" >&2; exit 2 ;; esac
[ $# -eq 0 ] || shift
targets=${*:-$(cd fuzz && ls ./*.c | sed 's|^\./||; s|\.c$||')}

command -v clang >/dev/null || { echo "fuzz/run.sh: clang is needed (Debian: clang)" >&2; exit 2; }
mkdir -p build/fuzz/found
{ cmake --preset fuzz && ninja -C build/fuzz fuzz; } >build/fuzz/build.log 2>&1 ||
    { tail -n 30 build/fuzz/build.log; echo "0 targets passed, 1 failed"; exit 1; }

# fuzz TARGET: its log in build/fuzz/TARGET.log, the exit code in build/fuzz/TARGET.code
fuzz() {
    local target=$1 program=build/fuzz/fuzz/fuzz_$1 code=0
    mkdir -p "build/fuzz/corpus/$target"
    if [ -x "$program" ]; then
        "$program" -max_total_time="$seconds" -max_len=4096 -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 \
            -artifact_prefix="build/fuzz/found/$target-" "build/fuzz/corpus/$target" "fuzz/corpus/$target" \
            >"build/fuzz/$target.log" 2>&1 || code=$?
    else
        echo "$target: no such target" >"build/fuzz/$target.log"
        code=2
    fi
    echo "$code" >"build/fuzz/$target.code"
}

running=0
for target in $targets; do
    if [ "$running" -ge "${JOBS:-$(nproc)}" ]; then
        wait -n
        running=$((running - 1))
    fi
    fuzz "$target" &
    running=$((running + 1))
done
wait

passed=0
failed=0
for target in $targets; do
    if [ "$(cat "build/fuzz/$target.code")" = 0 ]; then
        passed=$((passed + 1))
        echo "$target: $(grep -oE 'number_of_executed_units: [0-9]+' "build/fuzz/$target.log" | grep -oE '[0-9]+') inputs"
    else
        failed=$((failed + 1))
        tail -n 40 "build/fuzz/$target.log"
    fi
done
echo "$passed targets passed, $failed failed"
[ "$failed" = 0 ]
