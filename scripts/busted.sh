#!/usr/bin/env bash
# The busted specs of a folder, several files at a time, each process on ports of its own.
#
#   scripts/busted.sh FOLDER [JOBS]
#
# What a file printed comes when it is done. Ends with 1 when one failed.
set -uo pipefail
folder=$1
export HGCACHE_SPEC_PARTS=${2:-1}

one() {
    local text code=0 started=$SECONDS
    text=$(busted --lua=luajit -o plainTerminal "$1" 2>&1) || code=$?
    printf '%s: %d s\n%s\n' "$1" $((SECONDS - started)) "$text"
    [ "$code" = 0 ]
}
export -f one

find "$folder" -name '*_spec.lua' -print0 | sort -z |
    xargs -0 -n 1 -P "$HGCACHE_SPEC_PARTS" --process-slot-var=HGCACHE_SPEC_PART bash -c 'one "$1"' one
