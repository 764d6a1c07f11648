#!/usr/bin/env bats
# ci/rebase.sh: the queue on another base, without touching the queue.

load helper

setup() {
    tiny applied
    before=$(sum patches series)
    queue=$(rev queue)
    NEXT=$BATS_TEST_TMPDIR/tiny-2.0
    cp -a "$FIXTURES/tiny-1.0" "$NEXT"
    echo 2.0 >"$NEXT/VERSION"
}

teardown() {
    cd "$REPO"
    same "$(sum patches series)" "$before"
    same "$(rev queue)" "$queue"
    same "$(git -C "$SRC" worktree list | wc -l)" 1
    [ -z "$(find build -maxdepth 1 -name 'rebase.*')" ]
}

next_tarball() { # [NAME]
    NEXT_TARBALL=$BATS_TEST_TMPDIR/${1:-tiny_2.0.orig.tar.xz}
    pack "$NEXT" "$NEXT_TARBALL"
}

# The first patch does not fit any more.
conflict() {
    sed -i 's/n += test_bit(i, map);/n += !!test_bit(i, map);/' "$NEXT/migration/ram.c"
}

@test "a release that every patch applies to" {
    next_tarball
    run -0 ci/rebase.sh --tarball "$NEXT_TARBALL"
    same "$(grep -c ': applies$' <<<"$output")" 3
    never_says CONFLICT
    same "$(git -C "$SRC" show rebase/tiny_2.0:VERSION)" 2.0
    same "$(git -C "$SRC" diff --stat queue rebase/tiny_2.0 -- migration docs tests)" ''
}

@test "one patch conflicts: it is shown and left out, the others apply" {
    conflict
    next_tarball
    run -1 ci/rebase.sh --tarball "$NEXT_TARBALL"
    golden rebase
    same "$(git -C "$SRC" log -2 --format=%s rebase/tiny_2.0)" 'docs: say how pages are counted
tests/unit: test the count by words'
}

@test "the same again gives the same branch" {
    conflict
    next_tarball
    run -1 ci/rebase.sh --tarball "$NEXT_TARBALL"
    first=$(rev rebase/tiny_2.0)
    hostile_config
    run -1 ci/rebase.sh --tarball "$NEXT_TARBALL"
    same "$(rev rebase/tiny_2.0)" "$first"
}

@test "--topic stops behind that topic" {
    next_tarball
    run -0 ci/rebase.sh --tarball "$NEXT_TARBALL" --topic alpha
    says '[2/2] alpha/0002'
    never_says beta/
}

@test "--show cuts a conflict, however long, and the others are tried" {
    # Some thousand lines between the two that the patch changes.
    seq -f '        /* line %g of something else */' 5000 >"$BATS_TEST_TMPDIR/lines"
    sed -i "12r $BATS_TEST_TMPDIR/lines" "$NEXT/migration/ram.c"
    next_tarball
    run -1 ci/rebase.sh --tarball "$NEXT_TARBALL" --show 3
    says '[1/3] alpha/0001-migration-ram-count-pages-by-words.patch: CONFLICT'
    says '[3/3] beta/0001'
    one_error 'conflict with tiny_2.0'
    [ "$(wc -l <<<"$output")" -lt 30 ]
}

@test "--repo and --onto: a commit of a clone" {
    git clone -q "$UPSTREAM" "$BATS_TEST_TMPDIR/clone"
    cp "$NEXT/VERSION" "$BATS_TEST_TMPDIR/clone/"
    git -C "$BATS_TEST_TMPDIR/clone" commit -q -a -m 'Release 2.0'
    run -0 ci/rebase.sh --repo "$BATS_TEST_TMPDIR/clone" --onto master
    same "$(rev rebase/master~3)" "$(git -C "$BATS_TEST_TMPDIR/clone" rev-parse HEAD)"
    cd "$BATS_TEST_TMPDIR"
    run -0 repo/ci/rebase.sh --repo clone --onto refs/heads/master
}

@test "--repo needs --onto, and a commit that is there" {
    run -2 ci/rebase.sh
    one_line 'rebase onto what'
    run -2 ci/rebase.sh --repo "$UPSTREAM"
    one_line '--repo needs --onto'
    run -1 ci/rebase.sh --repo "$UPSTREAM" --onto nothing
    one_error 'has no nothing'
}

@test "--debian: what apt brings, or what it complains of" {
    next_tarball tiny_2.0.orig.tar.xz
    printf '#!/bin/sh\ncp %q qemu_2.0.orig.tar.xz\n' "$NEXT_TARBALL" >ci/apt_private.py
    run -0 ci/rebase.sh --debian trixie
    rev rebase/qemu_2.0
    printf '#!/bin/sh\necho "E: no such suite"\nexit 100\n' >ci/apt_private.py
    run -1 ci/rebase.sh --debian nothing
    one_error 'E: no such suite'
    git checkout -q ci
}

@test "a candidate of Debian's, with ~ in its name" {
    next_tarball 'qemu_2.0~rc1+ds.orig.tar.xz'
    run -0 ci/rebase.sh --tarball "$NEXT_TARBALL"
    says 'branch rebase/qemu_2.0'
}

@test "a file that is no tarball is refused in one line" {
    echo nothing >"$BATS_TEST_TMPDIR/bad.tar.xz"
    run -1 ci/rebase.sh --tarball "$BATS_TEST_TMPDIR/bad.tar.xz"
    says 'error: '"$BATS_TEST_TMPDIR"'/bad.tar.xz could not be unpacked'
    run -1 rev rebase/bad
}

@test "when git fails halfway there is no branch on half a release" {
    next_tarball
    real=$(command -v git)
    stub git <<END
#!/bin/sh
case " \$* " in *' add -A -f '*) echo 'fatal: disk full' >&2; exit 128 ;; esac
exec $real "\$@"
END
    run ! ci/rebase.sh --tarball "$NEXT_TARBALL"
    says 'disk full'
    never_says CONFLICT
    run -1 rev rebase/tiny_2.0
}

@test "a branch that is checked out to be mended can be made anew" {
    conflict
    next_tarball
    run -1 ci/rebase.sh --tarball "$NEXT_TARBALL"
    git -C "$SRC" worktree add -q "$BATS_TEST_TMPDIR/mend" rebase/tiny_2.0
    run -1 ci/rebase.sh --tarball "$NEXT_TARBALL"
    one_error tiny_2.0
    never_says fatal
    git -C "$SRC" worktree remove --force "$BATS_TEST_TMPDIR/mend"
}
