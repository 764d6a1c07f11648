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
    [ -z "$(find build -maxdepth 1 -name 'rebase.*' ! -name rebase.d)" ]
}

next_tarball() { # [NAME]
    NEXT_TARBALL=$BATS_TEST_TMPDIR/${1:-tiny_2.0.orig.tar.xz}
    pack "$NEXT" "$NEXT_TARBALL"
}

# The first patch does not fit any more.
conflict() {
    sed -i 's/n += test_bit(i, map);/n += !!test_bit(i, map);/' "$NEXT/migration/ram.c"
}

count_of() { # STATUS: how many commits of all topics have it, by the table
    awk -v want="$1" '$1 == "topic" { for (i = 1; i <= NF; i++) if ($i == want) col = i; next }
        NF == 7 && $2 ~ /^[0-9]+$/ { n += $col } END { print n + 0 }' "build/rebase.d/$2/table"
}

@test "a release that every patch applies to" {
    next_tarball
    run -0 ci/rebase.sh --tarball "$NEXT_TARBALL"
    same "$(grep -c ': clean$' <<<"$output")" 3
    same "$(count_of clean tiny_2.0)" 3
    never_says CONFLICT
    same "$(git -C "$SRC" show rebase/tiny_2.0/queue:VERSION)" 2.0
    same "$(git -C "$SRC" diff --stat queue rebase/tiny_2.0/queue -- migration docs tests)" ''
    same "$(rev rebase/tiny_2.0/beta)" "$(rev rebase/tiny_2.0/queue)"
    same "$(rev rebase/tiny_2.0/alpha)" "$(rev rebase/tiny_2.0/beta~1)"
}

@test "--survey: a conflict is shown, and those behind it judged by themselves" {
    conflict
    next_tarball
    run -1 ci/rebase.sh --tarball "$NEXT_TARBALL" --survey
    golden rebase
    same "$(git -C "$SRC" log -3 --format=%s rebase/tiny_2.0/queue)" 'docs: say how pages are counted
tests/unit: test the count by words
migration/ram: count pages by words'
    # Nothing of it is taken for a resolution later.
    run -1 ci/rebase.sh --tarball "$NEXT_TARBALL"
    one_error '3 of 3 commits are left'
}

@test "a conflict stops it, --continue goes on, and the resolution is kept" {
    conflict
    next_tarball
    run -1 ci/rebase.sh --tarball "$NEXT_TARBALL"
    says '[1/3] alpha: migration/ram: count pages by words: CONFLICT'
    says 'CONFLICT: migration/ram.c'
    says 'ci/rebase.sh --continue tiny_2.0'
    one_error '3 of 3 commits are left'
    run -1 ci/rebase.sh --tarball "$NEXT_TARBALL"
    one_error 'is under way: --continue tiny_2.0, or --abort tiny_2.0'
    run -1 ci/rebase.sh --continue tiny_2.0
    one_error 'migration/ram.c is not resolved'
    run -1 ci/mail.py alpha --base tiny_2.0 --from 'Ada <ada@example.net>'
    one_error 'no whole rebase onto tiny_2.0'
    git -C "$SRC" show queue~2:migration/ram.c >build/rebase.d/tiny_2.0/src/migration/ram.c
    run -1 ci/rebase.sh --continue tiny_2.0
    one_error 'is not resolved'
    git -C build/rebase.d/tiny_2.0/src add migration/ram.c
    run -0 ci/rebase.sh --continue tiny_2.0
    says '[1/3] alpha: migration/ram: count pages by words: resolved'
    same "$(count_of resolved tiny_2.0)" 1
    same "$(count_of clean tiny_2.0)" 2
    same "$(git -C "$SRC" diff --stat queue rebase/tiny_2.0/queue -- migration docs tests)" ''
    run -1 ci/rebase.sh --continue tiny_2.0
    one_error 'no rebase onto tiny_2.0 waits'
    # The same conflict on another base
    echo 3.0 >"$NEXT/VERSION"
    next_tarball tiny_3.0.orig.tar.xz
    run -0 ci/rebase.sh --tarball "$NEXT_TARBALL"
    same "$(count_of resolved tiny_3.0)" 1
}

@test "what the new base has already is obsolete, found or skipped" {
    cp "$NEXT/migration/ram.c" "$BATS_TEST_TMPDIR/old.c"
    git -C "$SRC" show queue~2:migration/ram.c >"$NEXT/migration/ram.c"
    next_tarball
    run -0 ci/rebase.sh --tarball "$NEXT_TARBALL"
    says '[1/3] alpha: migration/ram: count pages by words: obsolete'
    same "$(count_of obsolete tiny_2.0)" 1
    same "$(git -C "$SRC" rev-list --count "refs/thrift/rebase/tiny_2.0..rebase/tiny_2.0/queue")" 2
    cp "$BATS_TEST_TMPDIR/old.c" "$NEXT/migration/ram.c"
    conflict
    next_tarball tiny_3.0.orig.tar.xz
    run -1 ci/rebase.sh --tarball "$NEXT_TARBALL"
    git -C build/rebase.d/tiny_3.0/src cherry-pick --skip
    run -0 ci/rebase.sh --continue tiny_3.0
    same "$(count_of obsolete tiny_3.0)" 1
    same "$(count_of clean tiny_3.0)" 2
}

@test "--abort drops the branches, and nothing else" {
    conflict
    next_tarball
    run -1 ci/rebase.sh --tarball "$NEXT_TARBALL"
    run -0 ci/rebase.sh --abort tiny_2.0
    [ ! -e build/rebase.d/tiny_2.0 ]
    same "$(git -C "$SRC" for-each-ref refs/heads/rebase refs/thrift/rebase)" ''
    same "$(git -C "$SRC" worktree list | wc -l)" 1
    run -1 ci/rebase.sh --abort tiny_2.0
    one_error 'no rebase onto tiny_2.0'
    run -2 ci/rebase.sh --abort ../..
    one_line 'no name of a rebase'
    run -2 ci/rebase.sh --continue x --abort x
    one_line "don't go together"
}

@test "mails of what was put on a new base" {
    conflict
    next_tarball
    run -1 ci/mail.py beta --base tiny_2.0 --from 'Ada <ada@example.net>'
    one_error 'no rebase onto tiny_2.0'
    run -1 ci/rebase.sh --tarball "$NEXT_TARBALL"
    git -C "$SRC" show queue~2:migration/ram.c >build/rebase.d/tiny_2.0/src/migration/ram.c
    git -C build/rebase.d/tiny_2.0/src add migration/ram.c
    run -0 ci/rebase.sh --continue tiny_2.0
    run -0 ci/mail.py beta --base tiny_2.0 --from 'Ada <ada@example.net>'
    cover=$(echo build/mail/beta-v1/0000-*.patch)
    grep -qx "base-commit: $(rev refs/thrift/rebase/tiny_2.0)" "$cover"
    run -2 ci/mail.py beta --base tiny_2.0 --range a..b --from 'Ada <ada@example.net>'
    # They apply to that base
    run -0 ci/mail.py alpha --base tiny_2.0 --from 'Ada <ada@example.net>'
    git -C "$SRC" worktree add -q --detach "$BATS_TEST_TMPDIR/there" refs/thrift/rebase/tiny_2.0
    git -C "$BATS_TEST_TMPDIR/there" am -q "$REPO"/build/mail/alpha-v1/000[12]-*.patch
    git -C "$BATS_TEST_TMPDIR/there" diff --quiet rebase/tiny_2.0/alpha
}

@test "the same again gives the same branch" {
    conflict
    next_tarball
    run -1 ci/rebase.sh --tarball "$NEXT_TARBALL" --survey
    first=$(rev rebase/tiny_2.0/queue)
    hostile_config
    run -1 ci/rebase.sh --tarball "$NEXT_TARBALL" --survey
    same "$(rev rebase/tiny_2.0/queue)" "$first"
}

@test "--topic stops behind that topic" {
    next_tarball
    run -0 ci/rebase.sh --tarball "$NEXT_TARBALL" --topic alpha
    says '[2/2] alpha: '
    never_says 'beta: '
}

@test "--show cuts a conflict, however long, and the others are tried" {
    # Some thousand lines between the two that the patch changes.
    seq -f '        /* line %g of something else */' 5000 >"$BATS_TEST_TMPDIR/lines"
    sed -i "12r $BATS_TEST_TMPDIR/lines" "$NEXT/migration/ram.c"
    next_tarball
    run -1 ci/rebase.sh --tarball "$NEXT_TARBALL" --survey --show 3
    says '[1/3] alpha: migration/ram: count pages by words: conflict'
    says '[3/3] beta: '
    one_error 'conflict with tiny_2.0'
    [ "$(wc -l <<<"$output")" -lt 30 ]
}

@test "a conflict names the commits that the new base has since" {
    sed -i "s/^QEMU_VERSION=.*/QEMU_VERSION=1.0.2/" ci/pins
    git clone -q "$UPSTREAM" "$BATS_TEST_TMPDIR/clone"
    echo 1.0.0 >"$BATS_TEST_TMPDIR/clone/VERSION"
    git -C "$BATS_TEST_TMPDIR/clone" commit -q -a -m 'Release 1.0.0'
    conflict
    cp "$NEXT/migration/ram.c" "$BATS_TEST_TMPDIR/clone/migration/"
    git -C "$BATS_TEST_TMPDIR/clone" commit -q -a -m 'ram: be certain of a bit'
    run -1 ci/rebase.sh --repo "$BATS_TEST_TMPDIR/clone" --onto master --survey
    says 'ram: be certain of a bit'
    never_says 'Release 1.0.0'
    grep -q '^    [0-9a-f]* ram: be certain of a bit$' build/rebase.d/master/table
    git checkout -q ci
}

@test "--repo and --onto: a commit of a clone" {
    git clone -q "$UPSTREAM" "$BATS_TEST_TMPDIR/clone"
    cp "$NEXT/VERSION" "$BATS_TEST_TMPDIR/clone/"
    git -C "$BATS_TEST_TMPDIR/clone" commit -q -a -m 'Release 2.0'
    run -0 ci/rebase.sh --repo "$BATS_TEST_TMPDIR/clone" --onto master
    same "$(rev rebase/master/queue~3)" "$(git -C "$BATS_TEST_TMPDIR/clone" rev-parse HEAD)"
    cd "$BATS_TEST_TMPDIR"
    run -0 repo/ci/rebase.sh --repo clone --onto refs/heads/master
    git clone -q --depth 1 "file://$BATS_TEST_TMPDIR/clone" shallow
    run -0 repo/ci/rebase.sh --repo shallow --onto master
    short=$(git -C clone rev-parse --short HEAD)
    run -0 repo/ci/rebase.sh --repo clone --onto "$short"
    same "$(rev "rebase/$short/queue~3")" "$(git -C clone rev-parse HEAD)"
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
    printf '#!/bin/sh\ncp %q qemu_2.0.orig.tar.xz\n' "$NEXT_TARBALL" >ci/helpers/apt_private.py
    run -0 ci/rebase.sh --debian trixie
    rev rebase/qemu_2.0/queue
    printf '#!/bin/sh\necho "E: no such suite"\nexit 100\n' >ci/helpers/apt_private.py
    run -1 ci/rebase.sh --debian nothing
    one_error 'E: no such suite'
    git checkout -q ci
}

@test "a candidate of Debian's, with ~ in its name" {
    next_tarball 'qemu_2.0~rc1+ds.orig.tar.xz'
    run -0 ci/rebase.sh --tarball "$NEXT_TARBALL"
    says 'branches rebase/qemu_2.0'
}

@test "a file that is no tarball is refused in one line" {
    echo nothing >"$BATS_TEST_TMPDIR/bad.tar.xz"
    run -1 ci/rebase.sh --tarball "$BATS_TEST_TMPDIR/bad.tar.xz"
    says 'error: '"$BATS_TEST_TMPDIR"'/bad.tar.xz could not be unpacked'
    run -1 rev rebase/bad/queue
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
    run -1 rev rebase/tiny_2.0/queue
}

@test "--compile builds what is touched, and says what doesn't" {
    next_tarball
    run -1 ci/rebase.sh --compile tiny_2.0
    one_error 'no rebase onto tiny_2.0'
    printf '#!/bin/sh\nexec true\n' >"$NEXT/configure"
    chmod +x "$NEXT/configure"
    next_tarball
    run -0 ci/rebase.sh --tarball "$NEXT_TARBALL"
    mkdir -p build/rebase.d/tiny_2.0/obj
    cat >build/rebase.d/tiny_2.0/commands <<'END'
[{"directory": "/", "file": "../src/migration/ram.c", "output": "ram.c.o"},
 {"directory": "/", "file": "../src/other.c", "output": "other.c.o"}]
END
    stub ninja <<'END'
#!/bin/sh
echo "$*" >>../ninja.log
[ "$1" = -C ] || [ ! -e ../fail ] || { echo 'FAILED: ram.c.o'; echo 'ram.c:1: error: no'; exit 1; }
END
    printf '#!/bin/sh\n' >ci/build.sh
    cp build/rebase.d/tiny_2.0/commands build/rebase.d/tiny_2.0/obj/compile_commands.json
    cd build/rebase.d
    run -0 ../../ci/rebase.sh --compile tiny_2.0
    says '1 objects that the queue touches compile on tiny_2.0'
    touch ../fail
    run -1 ../../ci/rebase.sh --compile tiny_2.0
    says "1 of 1 objects don't compile on tiny_2.0"
    cd ../..
    git checkout -q ci
}
