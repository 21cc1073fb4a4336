#!/usr/bin/env bash
# Installs the Debian 12 packages that are missing, and nothing when none is.
#
#   scripts/setup.sh [build] [package] [test] [bench]        default: build
#
# Needs root or sudo only when something is missing. run.sh and test.sh call it. `test` also installs the gRPC client in
# JavaScript into build/grpc_js; where npm cannot reach its registry, the specs that use it are left out.
set -euo pipefail

packages_build="gcc libc6-dev cmake ninja-build pkg-config libluajit2-5.1-dev luajit2 libuv1-dev lua-cjson
    libprotobuf-c-dev protobuf-c-compiler libcurl4-openssl-dev libnghttp2-dev libssl-dev node-llhttp libxxhash-dev
    libjansson-dev libjemalloc-dev libpq-dev libc-ares-dev zlib1g-dev curl"
packages_package="dpkg-dev file" # for cpack -G DEB
packages_test="lua5.1 lua-busted lua-check lua-sql-sqlite3 lua-sql-mysql lua-nginx-redis redis-server python3-grpcio etcd-server etcd-client postgresql mariadb-server dnsmasq-base openssl
    libcmocka-dev libfaketime clang libclang-rt-14-dev python3-yaml $packages_package"
# Node.js may be there from elsewhere, and then Debian's cannot be.
command -v node >/dev/null || packages_test="$packages_test nodejs"
command -v npm >/dev/null || packages_test="$packages_test npm"
packages_bench="wrk nghttp2-client nginx-light libnginx-mod-http-lua lua-resty-core util-linux libglib2.0-dev"

# The packages that the lock file in spec/support/grpc_js has, unless they are those installed last.
install_grpc_js() {
    local from to
    from=$(dirname "$0")/../spec/support/grpc_js
    to=$(dirname "$0")/../build/grpc_js
    ! cmp -s "$from/package-lock.json" "$to/installed" || return 0
    echo "installing: grpc-js"
    mkdir -p "$to"
    cp "$from/package.json" "$from/package-lock.json" "$to"
    if ! timeout 120 npm ci --prefix "$to" --ignore-scripts --no-audit --no-fund --fetch-retries=1 >"$to/log" 2>&1 </dev/null; then
        tail -n 5 "$to/log" >&2
        echo "setup.sh: npm could not install grpc-js; the specs that use it will be left out" >&2
        return 0
    fi
    cp "$from/package-lock.json" "$to/installed"
}

wanted=""
for set in "${@:-build}"; do
    case "$set" in
        build) wanted="$wanted $packages_build" ;;
        package) wanted="$wanted $packages_package" ;;
        test) wanted="$wanted $packages_test" ;;
        bench) wanted="$wanted $packages_bench" ;;
        *) echo "setup.sh: no package set '$set' (there are build, package, test and bench)" >&2; exit 2 ;;
    esac
done

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    echo "setup.sh: this is no Debian; install what these packages hold, then run again:" $wanted >&2
    exit 1
fi

missing=""
for package in $wanted; do
    status=$(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null || true)
    [ "${status:0:2}" = "ii" ] || missing="$missing $package"
done
if [ -n "$missing" ]; then
    as_root=""
    if [ "$(id -u)" != 0 ]; then
        if ! command -v sudo >/dev/null; then
            echo "setup.sh: neither root nor sudo; as root, run: apt-get install --no-install-recommends$missing" >&2
            exit 1
        fi
        as_root="sudo"
    fi

    echo "installing:$missing"
    log=$(mktemp)
    trap 'rm -f "$log"' EXIT
    if ! $as_root apt-get update >"$log" 2>&1 ||
        ! $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing >>"$log" 2>&1 </dev/null; then
        tail -n 20 "$log" >&2
        echo "setup.sh: apt-get could not install:$missing" >&2
        exit 1
    fi
fi

case " $* " in *" test "*) install_grpc_js ;; esac
