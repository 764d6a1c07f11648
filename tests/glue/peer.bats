#!/usr/bin/env bats
# ci/peer.sh: Debian's QEMU of another suite in a folder of its own.

load helper

setup() {
    tiny clone
    DEBS=$BATS_TEST_TMPDIR/debs
    CALLS=$BATS_TEST_TMPDIR/apt-calls
    PEER=build/peer-trixie/qemu-system-x86_64
    # A loader that is told where libraries are and what to start, and what
    # it starts.
    package libc6 lib/some-linux-gnu/ld-linux-some.so.2 <<'EOF'
#!/bin/sh
[ "$1" = --library-path ] || exit 127
shift 2
exec "$@"
EOF
    fake_qemu 'QEMU emulator version 10.0'
    fake_apt
}

teardown() {
    [ -z "$(find build -maxdepth 1 -name 'peer.*' 2>/dev/null)" ]
}

# package NAME FILE: a package of one program, from stdin
package() {
    local root=$BATS_TEST_TMPDIR/package
    rm -rf "$root"
    mkdir -p "$DEBS" "$root/DEBIAN" "$root/usr/$(dirname "$2")"
    cat >"$root/usr/$2"
    chmod +x "$root/usr/$2"
    printf 'Package: %s\nVersion: 1\nArchitecture: all\nMaintainer: none\nDescription: none\n' \
        "$1" >"$root/DEBIAN/control"
    dpkg-deb --root-owner-group -b "$root" "$DEBS/$1.deb" >/dev/null
}

fake_qemu() { # VERSION
    package qemu-system-x86 bin/qemu-system-x86_64 <<EOF
#!/bin/sh
for arg; do
    [ "\$arg" != --version ] || exec echo "$1"
done
echo "pid \$\$ modules \$QEMU_MODULE_DIR" "\$@"
EOF
}

# Puts the packages where apt is told to.
fake_apt() {
    cat >ci/helpers/apt_private.py <<EOF
#!/bin/sh
echo "\$@" >>"$CALLS"
for arg; do
    case \$arg in Dir::Cache::archives=*) cp "$DEBS"/*.deb "\${arg#*=}" ;; esac
done
EOF
}

@test "peer.sh: the program runs what was fetched, with what came along" {
    run -0 ci/peer.sh trixie sid
    says "$REPO/$PEER"
    says "$REPO/build/peer-sid/qemu-system-x86_64"
    says 'QEMU emulator version 10.0'
    same "$(cat build/peer-trixie/packages)" 'libc6 1
qemu-system-x86 1'
    grep -q '^deb trixie apt-get .* install --download-only .*qemu-system-x86' "$CALLS"
    run -0 "$PEER" -m 'two words'
    says "modules $REPO/build/peer-trixie/root/usr/lib/some-linux-gnu/qemu"
    says "-L $REPO/build/peer-trixie/root/usr/share/seabios"
    says '-m two words'
}

@test "peer.sh: the process keeps its id, wherever the folder is" {
    ci/peer.sh trixie
    mv build/peer-trixie "$BATS_TEST_TMPDIR/it's there"
    ln -s "$BATS_TEST_TMPDIR/it's there/qemu-system-x86_64" link
    run -0 sh -c 'echo "this is pid $$ modules"; exec ./link'
    says "$(sed -n 's/^this is //p' <<<"$output") $BATS_TEST_TMPDIR/it's there/root/"
}

@test "peer.sh: what is there is not fetched again, but with --update" {
    ci/peer.sh trixie
    fake_qemu 'QEMU emulator version 10.1'
    run -0 ci/peer.sh trixie
    says 'version 10.0'
    same "$(wc -l <"$CALLS")" 1
    run -0 ci/peer.sh --update trixie
    says 'version 10.1'
    same "$(wc -l <"$CALLS")" 2
}

@test "peer.sh: what apt complains of is shown, and what was there stays" {
    ci/peer.sh trixie
    printf '#!/bin/sh\necho "E: no such suite"\nexit 100\n' >ci/helpers/apt_private.py
    run -1 ci/peer.sh --update trixie
    one_error 'QEMU of trixie could not be fetched: E: no such suite'
    # What ci/check skips
    printf '#!/bin/sh\necho "E: Failed to fetch it"\nexit 77\n' >ci/helpers/apt_private.py
    run -1 ci/peer.sh --update trixie
    one_error 'QEMU of trixie was not reached: E: Failed to fetch it'
    "$PEER" --version
}

@test "peer.sh: a broken package, none of libc, a QEMU that does not run" {
    printf '#!/bin/sh\nexit 1\n' | package libc6 lib/some-linux-gnu/ld-linux-some.so.2
    run -1 ci/peer.sh trixie
    one_error 'does not run here'
    rm "$DEBS/libc6.deb"
    run -1 ci/peer.sh trixie
    one_error 'came without a C library'
    echo nothing >"$DEBS/libc6.deb"
    run -1 ci/peer.sh trixie
    one_error 'libc6.deb could not be unpacked'
    FREE_MIB=10 run -1 ci/peer.sh trixie
    one_error 'are needed: make room'
    [ ! -e build/peer-trixie ]
}

@test "peer.sh: no suite, or what can be none, is wrong use" {
    run -2 ci/peer.sh
    one_line 'which suite'
    run -2 ci/peer.sh --update
    one_line 'which suite'
    for suite in Trixie ../trixie 'trixie sid' ''; do
        run -2 ci/peer.sh sid "$suite"
        one_line "'$suite' is no suite"
    done
    [ ! -e "$CALLS" ]
}

@test "peer.sh: only one works in build/, but what is there is told" {
    ci/peer.sh trixie
    exec 9>build/.lock
    # What the run has started may end a moment after it.
    flock -w 10 9
    run -0 ci/peer.sh trixie
    run -1 ci/peer.sh sid 9>&-
    one_error 'another run works in build/'
}
