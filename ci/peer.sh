#!/usr/bin/env bash
# Get Debian's own QEMU of another suite, with its libraries, in a folder.
set -euo pipefail
# shellcheck source=ci/lib/env.sh
. "$(dirname "$0")/lib/env.sh"

usage() {
    cat <<'EOF'
examples:
  ci/peer.sh trixie                Debian's QEMU of that suite
  ci/peer.sh bookworm trixie sid   one after the other
  ci/peer.sh --update sid          anew, if it is there already
  ci/boot.py build/peer-trixie/qemu-system-x86_64

Debian's package qemu-system-x86 and all that it depends on, C library and
firmware included, are fetched with apt and unpacked in build/peer-SUITE/root.
Nothing is installed.  The program
  build/peer-SUITE/qemu-system-x86_64
starts that QEMU with these libraries and this firmware; the process keeps its
id, and paths are the host's.  The packages have to be in that suite, all of
them: bookworm-backports lacks some.
What is there is not fetched again.  Prints each program and its version.
Exit status: 0 all are there, 1 one is not available, 2 wrong use.
EOF
}

update='' suites=()
while [ $# -gt 0 ]; do
    case $1 in
    --help | -h)
        usage
        exit 0
        ;;
    --update) update=1 ;;
    -*) usage_error "unknown option '$1'" ;;
    *)
        [[ $1 =~ ^[a-z][a-z0-9.-]*$ ]] || usage_error "'$1' is no suite"
        suites+=("$1")
        ;;
    esac
    shift
done
[ ${#suites[@]} -gt 0 ] || usage_error "which suite: bookworm, trixie, sid, ..."
need_cmd dpkg-deb dpkg

work=''
cleanup() {
    [ -z "$work" ] || rm -rf "$work"
}
trap cleanup EXIT

# wrapper LOADER LIBRARIES MODULES: the program that starts it, which can be
# moved together with root
wrapper() {
    cat <<EOF
#!/bin/sh
# Made by ci/peer.sh.
root=\$(dirname "\$(readlink -f "\$0")")/root
export QEMU_MODULE_DIR="\$root/$3"
exec "\$root/$1" --library-path "$2" "\$root/usr/bin/qemu-system-x86_64" \\
    -L "\$root/usr/share/seabios" -L "\$root/usr/share/qemu" \\
    -L "\$root/usr/lib/ipxe/qemu" "\$@"
EOF
}

fetch() { # SUITE
    local suite=$1 deb loader multiarch dir libraries='' status=0
    note "fetching Debian's QEMU of $suite"
    need_space "$BUILD" 800
    work=$(mktemp -d "$BUILD/peer.XXXXXX")
    mkdir -p "$work/debs/partial" "$work/new/root"
    # No package counts as installed, so that all that are needed come.
    : >"$work/status"
    "$ROOT/ci/helpers/apt_private.py" deb "$suite" apt-get -q -y \
        -o "Dir::State::status=$work/status" -o "Dir::Cache::archives=$work/debs" \
        -o Dir::Etc::preferences=- -o Dir::Etc::preferencesparts=- \
        install --download-only --no-install-recommends qemu-system-x86 ipxe-qemu \
        >"$work/log" 2>&1 || status=$?
    # ci/check skips what the network or the archive is to blame for, and no more
    [ $status != 77 ] ||
        die "Debian's QEMU of $suite was not reached: $(grep -m1 -E '^E:|error:' "$work/log")"
    [ $status = 0 ] ||
        die "Debian's QEMU of $suite could not be fetched: $(grep -m1 -E '^E:|error:' "$work/log")"
    for deb in "$work"/debs/*.deb; do
        dpkg-deb -x "$deb" "$work/new/root" 2>>"$work/log" ||
            die "$(basename "$deb") could not be unpacked: is the disk full?"
        # shellcheck disable=SC2016 # dpkg-deb expands them
        dpkg-deb -W --showformat '${Package} ${Version}\n' "$deb" >>"$work/new/packages"
    done
    # Not the link in lib64, which may be an absolute one.
    loader=$(find "$work/new/root" -path '*/lib/*/ld-linux-*.so.*' -printf '%P\n')
    [ -n "$loader" ] || die "Debian's QEMU of $suite came without a C library"
    multiarch=$(basename "$(dirname "$loader")")
    for dir in lib usr/lib; do
        libraries+=${libraries:+:}\$root/$dir/$multiarch
    done
    wrapper "$loader" "$libraries" "usr/lib/$multiarch/qemu" >"$work/new/qemu-system-x86_64"
    chmod +x "$work/new/qemu-system-x86_64"
    "$work/new/qemu-system-x86_64" --version >"$work/log" 2>&1 ||
        die "Debian's QEMU of $suite does not run here: $(head -n 1 "$work/log")"
    rm -rf "$BUILD/peer-$suite"
    mv "$work/new" "$BUILD/peer-$suite"
    rm -rf "$work"
}

for suite in "${suites[@]}"; do
    program=$BUILD/peer-$suite/qemu-system-x86_64
    if [ -n "$update" ] || [ ! -x "$program" ]; then
        lock_build
        fetch "$suite"
    fi
    echo "$program"
    "$program" --version | head -n 1
done
