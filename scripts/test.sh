#!/usr/bin/env bash
# Every test there is.
#
#   scripts/test.sh [STEP...]
#
#   floors   who may include whom, and the check's own self-test       lua      busted specs of the Lua modules
#   lint     luacheck                                                   nodes    busted specs that drive real processes
#   units    C tests under ASan and UBSan (build/dev)                   tsan     C tests that cross threads, under TSan
#   sim      hgsim: seeds, planted bugs, seeds that once failed         fuzz     each fuzz target for FUZZ_SECONDS (60)
#   demo     scripts/run.sh --once with the release build
#
# Without STEP all of them, in the order floors lint units sim lua nodes tsan fuzz demo. Logs lie in build/test/ and are shown
# when something fails. With CI set, warnings are errors. The last line is `N passed, N failed`.
set -uo pipefail
cd "$(dirname "$0")/.."

all_steps="floors lint units sim lua nodes tsan fuzz demo"
for step in "$@"; do
    case " $all_steps " in
        *" $step "*) ;;
        *) echo "test.sh: no step '$step' (there are: $all_steps)" >&2; exit 2 ;;
    esac
done
steps=${*:-$all_steps}

logs=build/test
mkdir -p "$logs"
jobs=$(nproc)
sim_from=$((0x$(git rev-parse --short=8 HEAD 2>/dev/null || echo 1))) # other seeds with each commit
passed=0
failed=0
log=""
cmake_options=()
[ -z "${CI:-}" ] || cmake_options=(-DHG_WERROR=ON)

# run NAME SECONDS COMMAND...: into build/test/NAME.log, ended after SECONDS; on a terminal a line that tells how it goes.
run() {
    local name=$1 limit=$2 started=$SECONDS code=0 pid
    shift 2
    log="$logs/$name.log"
    timeout -k 10 "$limit" "$@" >"$log" 2>&1 </dev/null &
    pid=$!
    if [ -t 1 ]; then
        while kill -0 "$pid" 2>/dev/null; do
            printf '\r\033[K%s: %d s  %s' "$name" $((SECONDS - started)) "$(tail -n 1 "$log" | tr -cd '[:print:]' | cut -c1-60)"
            sleep 0.5
        done
        printf '\r\033[K'
    fi
    wait "$pid" || code=$?
    [ "$code" != 124 ] || echo "not done after $limit s" >>"$log"
    took=$((SECONDS - started))
    return "$code"
}

# count NAME PASSED FAILED CODE: adds one suite up; an exit code that no failed test explains counts as one more.
count() {
    local bad=$3
    [ "$4" = 0 ] || [ "$bad" -gt 0 ] || bad=1
    passed=$((passed + $2))
    failed=$((failed + bad))
    echo "$1: $2 passed, $bad failed (${took} s)"
    if [ "$bad" -gt 0 ]; then
        echo "--- $log"
        tail -n 200 "$log"
        echo "---"
    fi
}

# The sum of the numbers in all that the pattern finds in a file; a pattern has one number in it.
sum() {
    grep -oE "$1" "$2" 2>/dev/null | grep -oE '[0-9]+' | awk '{ n += $1 } END { print n + 0 }'
}

# build PRESET SECONDS [TARGET...]: configures and builds; once a run for each preset when no target is named.
built=" "
build() {
    local preset=$1 limit=$2 code=0
    shift 2
    case "$built" in *" $preset "*) return 0 ;; esac
    run "configure-$preset" 300 cmake --preset "$preset" "${cmake_options[@]}" &&
        run "build-$preset" "$limit" ninja -C "build/$preset" -j"$jobs" "$@" || code=$?
    if [ "$code" != 0 ]; then
        count "build $preset" 0 0 1
        return 1
    fi
    echo "build $preset: done ($took s)"
    built="$built$preset "
}

# ctest PRESET NAME [ctest options]: counts the test functions of all programs, and programs that ended otherwise.
run_ctest() {
    local preset=$1 name=$2 code=0 last bad programs
    shift 2
    last="build/$preset/Testing/Temporary/LastTest.log"
    rm -f "$last"
    run "$name" 900 ctest --preset "$preset" -j"$jobs" "$@" || code=$?
    bad=$(sum '\[  FAILED  \] [0-9]+ test\(s\)' "$last")
    programs=$(sum ', [0-9]+ tests? failed out of' "$log")
    [ "$bad" -ge "$programs" ] || bad=$programs
    count "$name" "$(sum '\[  PASSED  \] [0-9]+ test\(s\)' "$last")" "$bad" "$code"
}

run_busted() {
    local name=$1 folder=$2 limit=$3 code=0
    if ! find "$folder" -name '*_spec.lua' | grep -q .; then
        took=0
        log=/dev/null
        count "$name" 0 0 1
        echo "no specs in $folder"
        return
    fi
    run "$name" "$limit" scripts/busted.sh "$folder" "$jobs" || code=$?
    count "$name" "$(sum '[0-9]+ success(es)? /' "$log")" \
        $(($(sum '/ [0-9]+ failures? /' "$log") + $(sum '/ [0-9]+ errors? /' "$log"))) "$code"
}

step_floors() {
    local code=0
    run floors-self-test 60 luajit scripts/floors.lua --self-test || code=$?
    count "floors self-test" "$(sum 'self-test: [0-9]+ passed' "$log")" "$(sum ' [0-9]+ failed' "$log")" "$code"
    code=0
    run floors 60 luajit scripts/floors.lua || code=$?
    count "floors" $((code == 0)) "$(sum ' [0-9]+ violations' "$log")" "$code"
}

step_lint() {
    local code=0 files
    files=$(git ls-files '*.lua' 2>/dev/null || true)
    [ -n "$files" ] || files=$(find lua scripts spec configs examples bench -name '*.lua')
    # shellcheck disable=SC2086 # one word a file
    run lint 120 luacheck --no-color --codes $files || code=$?
    count "lint" "$(grep -c ' OK$' "$log")" "$(grep -cE '^Checking .* [0-9]+ (warning|error)s?' "$log")" "$code"
}

step_units() {
    build dev 900 && run_ctest dev units
}

# run_sim PRESET NAME ARGUMENT...: one run of the simulator; the numbers of what passed and failed are in its last lines.
run_sim() {
    local preset=$1 name=$2 code=0
    shift 2
    run "$name" 300 "build/$preset/hgsim" "$@" || code=$?
    count "$name" "$(sum '^[0-9]+ (seeds,|bugs found)|[0-9]+ seeds passed' "$log")" \
        $(($(sum ', [0-9]+ not found$' "$log") + $(sum 'passed, [0-9]+ failed' "$log"))) "$code"
}

# The release build is what runs in production; its objects are not those of the sanitized one.
step_sim() {
    local preset
    for preset in dev release; do
        run "configure-$preset" 300 cmake --preset "$preset" "${cmake_options[@]}" &&
            run "build-sim-$preset" 600 ninja -C "build/$preset" -j"$jobs" hgsim hgsim-bugs ||
            { count "build sim $preset" 0 0 1; return; }
    done
    run_sim dev "sim dev" --seeds 500 --from "$sim_from" --jobs "$jobs"
    run_sim release "sim" --seeds 10000 --from "$sim_from" --jobs "$jobs"
    run_sim release "sim seeds" --file sim/seeds.txt
    run_sim release "sim bugs" --bugs --seeds 10000 --jobs "$jobs"
    # Addresses differ from process to process; the runs of a seed must not.
    local code=0
    run sim-twice 60 bash -c 'for jobs in 1 2; do build/release/hgsim --seeds 20 --jobs $jobs | grep -oE "trace hash [0-9a-f]+"; done |
        sort | uniq -c | grep "^ *2 "' || code=$?
    count "sim twice" $((code == 0)) 0 "$code"
}

step_fuzz() {
    local code=0
    run fuzz 1200 fuzz/run.sh "${FUZZ_SECONDS:-60}" || code=$?
    count "fuzz" "$(sum '[0-9]+ targets passed' "$log")" "$(sum ' [0-9]+ failed' "$log")" "$code"
}

step_lua() {
    run_busted lua spec/unit 300
}

step_nodes() {
    build dev 900 || return
    HGCACHE_BIN="$PWD/build/dev/hgcache" run_busted nodes spec/node 1200
}

# Whatever starts threads in its tests: three floors, and the tables that scripts share.
step_tsan() {
    local pattern='((net|script|group)_[a-z0-9_]+|base_(shared|metrics|mutex)|node_(generation|reload|publish|scripts))' targets
    run configure-tsan 300 cmake --preset tsan "${cmake_options[@]}" || { count "build tsan" 0 0 1; return; }
    targets=$(ninja -C build/tsan -t targets all | grep -oE "^${pattern}_test: phony" | cut -d: -f1)
    # shellcheck disable=SC2086
    build tsan 900 $targets && run_ctest tsan tsan -R "^$pattern\$"
}

step_demo() {
    local code=0
    run demo 900 scripts/run.sh --once || code=$?
    count "demo" $((code == 0)) 0 "$code"
}

scripts/setup.sh build test || { echo "0 passed, 1 failed"; exit 1; }
for step in $steps; do
    "step_$step"
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
