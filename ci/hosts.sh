#!/usr/bin/env bash
# Run the unit tests of what counts in words on hosts whose C types have other
# sizes: dirty maps, dirty groups and exit clusters.
set -euo pipefail
# shellcheck source=ci/lib/env.sh
. "$(dirname "$0")/lib/env.sh"

usage() {
    cat <<'HELP'
examples:
  ci/hosts.sh                 each host
  ci/hosts.sh --host llp64    one of them, can be repeated
  ci/hosts.sh --tsan          the dirty map with ThreadSanitizer

  ilp32    gcc -m32: long and pointers have 32 bits
  llp64    64-bit Windows, long has 32 bits: gcc of MinGW-w64, run by wine
  clang    this host, with Debian's clang

options:
  --host NAME   only this one
  --tsan        ThreadSanitizer instead; it takes this host's gcc
  --no-deps     install nothing

The sources are those of build/src, compiled against QEMU's headers and, as
Debian has no GLib for these hosts, against tests/hosts/glib.h; no QEMU is
configured.  Output is TAP, a program being a case.  What can't be installed is
skipped.  x86 orders stores: that a barrier is missing is not found here.
Exit status: 0 all pass, 1 one does not, 2 wrong use.
HELP
}

hosts=() tsan='' deps=1
while [ $# -gt 0 ]; do
    case $1 in
    --help | -h)
        usage
        exit 0
        ;;
    --host)
        [ $# -gt 1 ] || usage_error "$1 needs a value"
        case $2 in
        ilp32 | llp64 | clang) hosts+=("$2") ;;
        *) usage_error "no host '$2': use ilp32, llp64 or clang" ;;
        esac
        shift
        ;;
    --tsan) tsan=1 ;;
    --no-deps) deps= ;;
    *) usage_error "unknown option '$1'" ;;
    esac
    shift
done
[ -z "$tsan" ] || [ ${#hosts[@]} = 0 ] || usage_error "--tsan and --host exclude each other"
if [ -n "$tsan" ]; then
    hosts=(tsan)
elif [ ${#hosts[@]} = 0 ]; then
    hosts=(ilp32 llp64 clang)
fi
[ -x "$SRC/configure" ] || die "$SRC has no sources: run ./configure-wrapper.sh"
lock_build

# programs: each with its sources, a line each
programs() {
    local cluster=target/i386/kvm/exit-cluster
    # What a topic that is not applied would have is left out.
    ! [ -f "$SRC/tests/unit/test-dirty-map.c" ] || echo test-dirty-map system/dirty-map.c
    [ "$1" != tsan ] || return 0
    ! [ -f "$SRC/tests/unit/test-dirty-groups.c" ] || echo test-dirty-groups
    ! [ -f "$SRC/tests/unit/test-exit-cluster.c" ] || {
        local engine
        engine=$(cd "$SRC" && echo $cluster-{decode,exec,mem}.c $cluster-ops*.c)
        echo test-exit-cluster "$engine"
        # It takes pages away with mprotect().
        [ "$1" = llp64 ] ||
            echo test-exit-cluster-edges "$engine" $cluster-guard.c
        echo test-exit-cluster-history $cluster-history.c
    }
}

common=(util/bitmap.c util/bitops.c util/bufferiszero.c util/cpuinfo-i386.c
    util/host-utils.c util/int128.c)
flags=(-O2 -g -std=gnu11 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -Wall
    -fno-strict-aliasing -fno-common -fwrapv)
wine=/usr/lib/wine/wine64

# configure HOST: what QEMU's configure would find out, as far as it matters
configure() {
    local dir=$BUILD/hosts/$1
    mkdir -p "$dir"
    : >"$dir/config-poison.h"
    case $1 in
    llp64) printf '#define CONFIG_%s 1\n' WIN32 ATOMIC64 ;;
    *) printf '#define CONFIG_%s 1\n' POSIX LINUX MADVISE IOVEC ATOMIC64 ;;
    esac >"$dir/config-host.h"
}

# compile HOST PROGRAM SOURCES...
compile() {
    local dir=$BUILD/hosts/$1 program=$2 cc include=x86_64 source sources=()
    for source in "tests/unit/$2.c" "${@:3}" "${common[@]}"; do
        sources+=("$SRC/$source")
    done
    case $1 in
    ilp32) cc=(gcc -m32 -march=i686 -msse2) include=i386 ;;
    llp64) cc=(x86_64-w64-mingw32-gcc-posix -static) ;;
    clang) cc=(clang -Werror) ;;
    tsan) cc=(gcc -fsanitize=thread -Wno-tsan) ;;
    esac
    "${cc[@]}" "${flags[@]}" -I"$dir" -I"$ROOT/tests/hosts" -I"$SRC/include" \
        -I"$SRC" -I"$SRC/host/include/$include" \
        -I"$SRC/host/include/generic" -o "$dir/$program" "${sources[@]}" \
        "$ROOT/tests/hosts/hostshim.c" -lpthread -lm
}

# lacks HOST: what is missing for it, or nothing
lacks() {
    case $1 in
    ilp32) echo 'int main(void) { return 0; }' |
        gcc -m32 -x c -o /dev/null - 2>/dev/null || echo 'no gcc -m32: apt-get install gcc-multilib' ;;
    llp64) command -v x86_64-w64-mingw32-gcc-posix >/dev/null ||
        echo 'no MinGW-w64: apt-get install gcc-mingw-w64-x86-64-posix' ;;
    clang) command -v clang >/dev/null || echo 'no clang: apt-get install clang' ;;
    esac
}

# no_run HOST: why its programs don't run
no_run() {
    case $1 in
    ilp32) echo 'this kernel runs no 32-bit programs' ;;
    llp64) echo 'there is no wine: apt-get install wine64' ;;
    esac
}

# run HOST PROGRAM
run() {
    local program=$BUILD/hosts/$1/$2
    case $1 in
    llp64) WINEDEBUG=-all WINEPREFIX=$BUILD/hosts/wine timeout 300 "$wine" "$program.exe" ;;
    tsan) TSAN_OPTIONS=suppressions=$ROOT/tests/hosts/tsan.suppressions:halt_on_error=1 \
        timeout 300 "$program" ;;
    *) timeout 300 "$program" ;;
    esac
}

# runs HOST: whether its programs run here; a 64-bit kernel may lack the rest
runs() {
    local probe=$BUILD/hosts/$1/probe
    case $1 in
    ilp32)
        echo 'int main(void) { return 0; }' | gcc -m32 -x c -o "$probe" - || return 0
        # 126: it was found, and can't be executed
        "$probe" 2>/dev/null || [ $? != 126 ]
        ;;
    llp64) [ -x "$wine" ] ;;
    esac
}

# one HOST PROGRAM SOURCES...: 0 passed, 1 not, 3 compiled but there is nothing
# to run it
one() {
    local out=$BUILD/hosts/$1/$2.out
    if ! compile "$@" >"$out" 2>&1; then
        grep -m5 -E 'error|warning|undefined' "$out" | sed 's/^/# /'
        return 1
    fi
    runs "$1" || return 3
    run "$1" "$2" >"$out" 2>&1 || {
        tail -n 30 "$out" | tr -d '\r' | sed 's/^/# /'
        return 1
    }
    tap_passed "$out" || {
        tail -n 5 "$out" | tr -d '\r' | sed 's/^/# /'
        return 1
    }
    echo "# $(grep -c '^ok ' "$out") cases"
}

if [ -n "$deps" ] && [ -z "$tsan" ]; then
    "$ROOT/ci/deps.sh" --profile lean --hosts >&2 || note "going on with what there is"
fi
cases=()
for host in "${hosts[@]}"; do
    while read -r line; do
        cases+=("$host $line")
    done < <(programs "$host")
done
echo "1..${#cases[@]}"
number=0 failed=0
for case in "${cases[@]}"; do
    read -r -a words <<<"$case"
    host=${words[0]} program=${words[1]}
    number=$((number + 1))
    why=$(lacks "$host")
    if [ -n "$why" ]; then
        echo "ok $number - $program, $host # SKIP $why"
        continue
    fi
    configure "$host"
    status=0
    one "${words[@]}" || status=$?
    case $status in
    0) echo "ok $number - $program, $host" ;;
    3) echo "ok $number - $program, $host # SKIP it compiles, but $(no_run "$host")" ;;
    *)
        echo "not ok $number - $program, $host"
        failed=1
        ;;
    esac
done
exit $failed
