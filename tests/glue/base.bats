#!/usr/bin/env bats
# ci/base.sh: where the sources come from, what is refused, and that the same
# sources give the same commit everywhere.

load helper

setup() {
    tiny clone
}

base() {
    rev refs/thrift/base
}

# upstream/ as 'git submodule update' leaves it.
check_out_upstream() {
    rm -rf upstream
    git clone -q "$UPSTREAM" upstream
    git -C upstream checkout -q --detach
}

# What ci/base.sh would get from apt: FILE, or nothing and an error.
fake_apt() { # [FILE]
    printf '#!/bin/sh\necho "$@" >>%q\n' "$BATS_TEST_TMPDIR/apt-calls" >ci/helpers/apt_private.py
    if [ $# = 0 ]; then
        printf 'echo "E: no such suite"\nexit 100\n' >>ci/helpers/apt_private.py
    else
        printf 'cp %q tiny_1.0.orig.tar.xz\n' "$1" >>ci/helpers/apt_private.py
    fi
}

flip_a_byte() { # FROM TO
    cp "$1" "$2"
    printf '\377' | dd of="$2" bs=1 seek=200 conv=notrunc status=none
    ! cmp -s "$1" "$2"
}

@test "--tarball gives the base, with the fix-up" {
    run -0 ci/base.sh --tarball "$TARBALL"
    says 'sha256 as pinned'
    [ "$(git -C "$SRC" rev-list --count refs/thrift/base)" = 2 ]
    same "$(git -C "$SRC" log -1 --format=%s refs/thrift/base)" 'meson: do without blobs'
    same "$(git -C "$SRC" show refs/thrift/base:meson.build)" "project('tiny')
subdir('migration')"
}

@test "the base holds each file of the tarball, byte by byte" {
    ci/base.sh --tarball "$TARBALL"
    mkdir "$BATS_TEST_TMPDIR/got"
    git -C "$SRC" archive refs/thrift/base~ | tar -xf - -C "$BATS_TEST_TMPDIR/got"
    diff -r --no-dereference "$FIXTURES/tiny-1.0" "$BATS_TEST_TMPDIR/got"
    [ -x "$BATS_TEST_TMPDIR/got/configure" ]
    [ -f "$BATS_TEST_TMPDIR/got/data.bin" ]
}

@test "base and tip have the ids that they have everywhere" {
    ci/base.sh --tarball "$TARBALL"
    ci/apply.sh
    output=$(git -C "$SRC" log --format='%H %T %s' queue)
    golden ids
}

@test "--distfiles and THRIFT_DISTFILES name a folder" {
    run -0 ci/base.sh --distfiles "$DIST"
    says "source: $TARBALL"
    first=$(base)
    rm -rf build
    THRIFT_DISTFILES=$DIST run -0 ci/base.sh
    says "source: $TARBALL"
    same "$(base)" "$first"
}

@test "--distfiles goes before THRIFT_DISTFILES" {
    mkdir "$BATS_TEST_TMPDIR/other"
    THRIFT_DISTFILES=$BATS_TEST_TMPDIR/other run -0 ci/base.sh --distfiles "$DIST"
    says "source: $TARBALL"
}

@test "a tarball with one other byte is refused, and nothing is made" {
    flip_a_byte "$TARBALL" "$BATS_TEST_TMPDIR/tiny_1.0.orig.tar.xz"
    run -1 ci/base.sh --tarball "$BATS_TEST_TMPDIR/tiny_1.0.orig.tar.xz"
    one_error 'wrong sha256'
    [ ! -e build ]
    run -1 ci/base.sh --distfiles "$BATS_TEST_TMPDIR"
    one_error 'wrong sha256'
    run -1 ci/base.sh --dry-run --tarball "$BATS_TEST_TMPDIR/tiny_1.0.orig.tar.xz"
    one_error 'wrong sha256'
}

@test "a tarball or folder that is not there is refused in one line" {
    run -2 ci/base.sh --tarball no.tar.xz
    one_line '--tarball no.tar.xz: no such file'
    run -2 ci/base.sh --distfiles nowhere
    one_line 'distfiles folder nowhere'
    THRIFT_DISTFILES=nowhere run -2 ci/base.sh
    one_line 'distfiles folder nowhere'
}

@test "no source at all: one error that says what to pass" {
    fake_apt
    run -1 ci/base.sh
    says 'no tarball from apt: E: no such suite'
    says 'base.sh: error: no source for QEMU v1.0: pass --tarball FILE with tiny_1.0.orig.tar.xz or https://download.qemu.org/tiny-1.0.tar.xz'
}

@test "apt is asked for the pinned source, once" {
    fake_apt "$TARBALL"
    run -0 ci/base.sh
    grep -qx 'deb-src sid apt-get -q source --download-only qemu=1.0-1' "$BATS_TEST_TMPDIR/apt-calls"
    first=$(base)
    rm -rf build/src
    run -0 ci/base.sh
    same "$(base)" "$first"
    same "$(wc -l <"$BATS_TEST_TMPDIR/apt-calls")" 1
}

@test "what apt brings is not used when its sha256 is wrong" {
    flip_a_byte "$TARBALL" "$BATS_TEST_TMPDIR/bad.tar.xz"
    fake_apt "$BATS_TEST_TMPDIR/bad.tar.xz"
    run -1 ci/base.sh
    one_error 'wrong sha256'
    [ ! -e build/distfiles/tiny_1.0.orig.tar.xz ]
    [ ! -e build/src ]
}

@test "a folder without the tarball is said, then apt is asked" {
    fake_apt "$TARBALL"
    run -0 ci/base.sh --distfiles ci
    says 'neither tiny_1.0.orig.tar.xz nor tiny-1.0.tar.xz is in ci'
    says 'fetching'
}

@test "the release's own tarball will do, and needs no fix-up" {
    release=$BATS_TEST_TMPDIR/release
    mkdir "$release"
    git -C "$UPSTREAM" archive --prefix=tiny-1.0/ HEAD | xz >"$release/tiny-1.0.tar.xz"
    run -1 ci/base.sh --tarball "$release/tiny-1.0.tar.xz"
    one_error 'is neither tiny_1.0.orig.tar.xz nor tiny-1.0.tar.xz (wrong sha256)'
    sed -i "s/^QEMU_RELEASE_SHA256=.*/QEMU_RELEASE_SHA256=$(sha256sum <"$release/tiny-1.0.tar.xz" | cut -d' ' -f1)/" ci/pins
    run -0 ci/base.sh --distfiles "$release"
    says 'tiny-1.0.tar.xz (sha256 as pinned)'
    same "$(git -C "$SRC" show refs/thrift/base:pc-bios/bios.txt)" blob
    same "$(git -C "$SRC" log --format=%s refs/thrift/base)" 'QEMU v1.0, from tiny-1.0.tar.xz'
    first=$(base)
    run -0 ci/base.sh
    says 'as made before from tiny-1.0.tar.xz'
    same "$(base)" "$first"
    run -0 ci/base.sh --tarball "$TARBALL"
    [ "$(base)" != "$first" ]
}

@test "upstream/ at the pin goes before the tarball" {
    check_out_upstream
    THRIFT_DISTFILES=$DIST run -0 ci/base.sh
    says 'source: upstream/ at v1.0'
    same "$(base)" "$(git -C "$UPSTREAM" rev-parse HEAD)"
    same "$(git -C "$SRC" show refs/thrift/base:pc-bios/bios.txt)" blob
    run -0 ci/base.sh
    never_says 'base.sh: base:'
}

@test "--tarball goes before upstream/ and says so" {
    check_out_upstream
    run -0 ci/base.sh --tarball "$TARBALL"
    says 'not upstream/, because --tarball was given'
    [ "$(base)" != "$(git -C "$UPSTREAM" rev-parse HEAD)" ]
}

@test "upstream/ at another commit is refused" {
    check_out_upstream
    git -C upstream -c user.name=A -c user.email=a@example.com commit -q --allow-empty -m other
    run -1 ci/base.sh
    one_line 'the pin is'
    [ ! -e build/src ]
}

@test "upstream/ with changes is refused, and the changes stay" {
    check_out_upstream
    echo mine >>upstream/VERSION
    run -1 ci/base.sh
    one_line 'upstream/ has changes of its own'
    git -C upstream checkout -q VERSION
    echo new >upstream/new
    run -1 ci/base.sh
    one_line 'upstream/ has changes of its own'
    [ -f upstream/new ]
    [ ! -e build/src ]
}

@test "the submodule is fetched when there is nothing else" {
    fake_apt
    stub ssh <<'END'
#!/bin/sh
# ssh HOST COMMAND, on this machine
while [ $# -gt 1 ]; do shift; done
exec sh -c "$1"
END
    run -0 ci/base.sh
    says 'trying git submodule update'
    says 'source: upstream/ at v1.0'
    same "$(base)" "$(git -C "$UPSTREAM" rev-parse HEAD)"
    [ -z "$(git status --porcelain upstream)" ]
}

@test "a second run does nothing" {
    ci/base.sh --tarball "$TARBALL"
    before=$(find build -path '*/objects/*' -o -name 'base.*' -o -name packed-refs -o -name base |
        sort | xargs stat -c '%n %y')
    for args in "--tarball $TARBALL" "--distfiles $DIST" ''; do
        # shellcheck disable=SC2086 # none or two words
        run -0 ci/base.sh $args
        never_says unpacking
    done
    says 'as made before'
    same "$(find build -path '*/objects/*' -o -name 'base.*' -o -name packed-refs -o -name base |
        sort | xargs stat -c '%n %y')" "$before"
}

@test "another folder, umask, owner of the clock and mode give the same commit" {
    cp -a "$REPO" "$BATS_TEST_TMPDIR/second"
    mkdir "$BATS_TEST_TMPDIR/t"
    cp -r "$FIXTURES/tiny-1.0" "$BATS_TEST_TMPDIR/t/tiny-release"
    find "$BATS_TEST_TMPDIR/t" -exec touch -h -d 2001-02-03 {} +
    chmod -R go-rwx "$BATS_TEST_TMPDIR/t"
    pack "$BATS_TEST_TMPDIR/t/tiny-release" "$BATS_TEST_TMPDIR/t/tiny_1.0.orig.tar.xz" --mtime=2001-01-01
    cmp -s "$TARBALL" "$BATS_TEST_TMPDIR/t/tiny_1.0.orig.tar.xz" && return 1
    write_pins "$BATS_TEST_TMPDIR/second" "$BATS_TEST_TMPDIR/t/tiny_1.0.orig.tar.xz"
    (umask 077 && ci/base.sh --tarball "$TARBALL")
    (
        umask 000
        export TZ=Asia/Tokyo LC_ALL=C.UTF-8
        hostile_config
        hostile_env
        "$BATS_TEST_TMPDIR/second/ci/base.sh" --tarball "$BATS_TEST_TMPDIR/t/tiny_1.0.orig.tar.xz"
    )
    same "$(base)" "$(git -C "$BATS_TEST_TMPDIR/second/build/src" rev-parse refs/thrift/base)"
}

@test "a changed fix-up gives another base, the old one back the first" {
    ci/base.sh --tarball "$TARBALL"
    first=$(base)
    cp -a ci/tarball-fixups "$BATS_TEST_TMPDIR/kept"
    sed -i 's/The tarball has none/The tarball has no blobs/' ci/tarball-fixups/*.patch
    run -0 ci/base.sh --distfiles "$DIST"
    says unpacking
    [ "$(base)" != "$first" ]
    cp "$BATS_TEST_TMPDIR"/kept/* ci/tarball-fixups/
    ci/base.sh --distfiles "$DIST"
    same "$(base)" "$first"
}

@test "a fix-up that does not apply is named, and there is no base" {
    sed -i "s/^-dependency('blobs')/-dependency('bytes')/" ci/tarball-fixups/*.patch
    run -1 ci/base.sh --tarball "$TARBALL"
    says 'error: tarball fix-up 0001-do-without-blobs.patch does not apply'
    run -1 rev refs/thrift/base
    [ -z "$(find build -maxdepth 1 -name 'base.*')" ]
}

@test "no fix-up at all is fine" {
    rm ci/tarball-fixups/*
    run -0 ci/base.sh --tarball "$TARBALL"
    never_says 'No such file'
    same "$(git -C "$SRC" rev-list --count refs/thrift/base)" 1
}

@test "when git fails halfway there is no base of half the files" {
    real=$(command -v git)
    stub git <<END
#!/bin/sh
case " \$* " in *' add -A -f '*) echo 'fatal: disk full' >&2; exit 128 ;; esac
exec $real "\$@"
END
    run ci/base.sh --tarball "$TARBALL"
    [ "$status" != 0 ]
    says 'disk full'
    never_says 'does not apply'
    run -1 rev refs/thrift/base
}

@test "a full disk is told before anything is unpacked" {
    FREE_MIB=100 run -1 ci/base.sh --tarball "$TARBALL"
    one_error '100 MiB free'
    [ ! -e build/src ]
}

@test "a build/src that is no repository is left alone" {
    mkdir -p build/src
    echo mine >build/src/file
    run -1 ci/base.sh --tarball "$TARBALL"
    one_error 'move it away'
    same "$(cat build/src/file)" mine
}

@test "--dry-run says what would be taken and writes nothing" {
    run -0 ci/base.sh --dry-run --tarball "$TARBALL"
    says "source: $TARBALL"
    run -0 ci/base.sh --dry-run
    says 'would fetch'
    check_out_upstream
    run -0 ci/base.sh --dry-run
    says 'source: upstream/'
    [ ! -e build ]
}
