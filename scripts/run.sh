#!/usr/bin/env bash
# Builds hgcache, starts the three demo nodes and asks for one key three times.
#
#   scripts/run.sh           ... and keeps the nodes running until Ctrl-C
#   scripts/run.sh --once    ... and stops; exit code 0 when everything was as it should be, else 1
#
# The nodes are those of examples/scores/config.lua: peers on 8001, 8002 and 8003, and the front end on 8791 in the third
# process; admin listeners on 9001, 9002 and 8792. Their logs lie in build/demo/.
set -euo pipefail
cd "$(dirname "$0")/.."

once=no
for option in "$@"; do
    case "$option" in
        --once) once=yes ;;
        -h | --help) sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 0 ;;
        *) echo "run.sh: unknown option '$option' (there is --once)" >&2; exit 2 ;;
    esac
done

config=examples/scores/config.lua
binary=build/release/hgcache
logs=build/demo
front="http://127.0.0.1:8791"
pids=()
failed=0

fail() {
    echo "run.sh: $*" >&2
    failed=1
}

is_open() {
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# Ends the nodes that this script started and waits for them: they drain, at most 15 s.
stop_nodes() {
    trap '' INT TERM
    local pid left code
    [ ${#pids[@]} -gt 0 ] || return 0
    kill -TERM "${pids[@]}" 2>/dev/null || true
    for ((left = 150; left > 0; left--)); do
        kill -0 "${pids[@]}" 2>/dev/null || break
        sleep 0.1
    done
    for pid in "${pids[@]}"; do
        if kill -KILL "$pid" 2>/dev/null; then
            fail "node with process id $pid did not end within 15 s"
        fi
        code=0
        wait "$pid" 2>/dev/null || code=$?
        [ "$code" = 0 ] || fail "a node ended with exit code $code"
    done
    pids=()
}
trap 'stop_nodes; exit $((once_running || failed))' INT TERM HUP
trap 'stop_nodes' EXIT
once_running=1 # until the demonstration is over, an interruption is a failure

scripts/setup.sh build

mkdir -p build "$logs"
echo "building $binary"
if ! { cmake --preset release && cmake --build --preset release -- -j"$(nproc)"; } >build/run.log 2>&1; then
    tail -n 40 build/run.log >&2
    fail "the build failed (build/run.log)"
    exit 1
fi

for port in 8001 8002 8003 8791 8792 9001 9002; do
    if is_open "$port"; then
        fail "port $port is in use: is another demo running?"
    fi
done
[ "$failed" = 0 ] || exit 1

rm -f "$logs"/*.log
for port in 8001 8002 8003; do
    extra=()
    [ "$port" != 8003 ] || extra=(api=1)
    # A session of its own: Ctrl-C reaches this script only, which then ends the nodes in order.
    setsid "$binary" run "$config" "port=$port" "${extra[@]}" >"$logs/$port.log" 2>&1 </dev/null &
    pids+=($!)
    echo "node http://localhost:$port (process $!, log $logs/$port.log)"
done

# Up when the ports answer; the nodes must live on meanwhile.
for port in 8001 8002 8003 8791; do
    for ((left = 200; left > 0; left--)); do
        is_open "$port" && break
        for pid in "${pids[@]}"; do
            kill -0 "$pid" 2>/dev/null || left=1
        done
        sleep 0.05
    done
    if ! is_open "$port"; then
        tail -n 5 "$logs"/*.log >&2
        fail "nobody listens on port $port; the logs say why"
        exit 1
    fi
done

echo
for ask in 1 2 3; do
    answer=$(curl -sS --noproxy '*' --max-time 15 "$front/api?key=Tom") || answer="(no answer)"
    echo "GET $front/api?key=Tom  ->  $answer"
    [ "$answer" = 630 ] || fail "answer $ask is not 630"
done

# Logs are written by a thread of their own: wait for the lines, not for a time.
hop="Pick peer http://localhost:8002"
search="[SlowDB] search key Tom"
for ((left = 50; left > 0; left--)); do
    grep -qF "$hop" "$logs/8003.log" && grep -qF "$search" "$logs"/*.log && break
    sleep 0.1
done
line=$(grep -hF "$hop" "$logs/8003.log" | head -n 1 || true)
count=$(cat "$logs"/*.log | grep -cF "$search" || true)
echo "the hop:          ${line:-none}"
echo "the slow source:  asked $count time(s) for Tom by all nodes together"
[ -n "$line" ] || fail "no line '$hop' in $logs/8003.log"
[ "$count" = 1 ] || fail "the slow source was asked $count times, not once"

once_running=0
if [ "$once" = yes ]; then
    stop_nodes
    [ "$failed" = 0 ] && echo "demo: all as it should be"
    exit "$failed"
fi

echo
echo "The nodes are running; try: curl '$front/api?key=Jack'    Ctrl-C ends them."
code=0
wait -n "${pids[@]}" || code=$?
fail "a node ended by itself with exit code $code; its log is in $logs/"
exit 1
