#!/usr/bin/env bats
# ci/apply.sh: what is applied, what is known again, what is never lost.

load helper

setup() {
    tiny clone
}

# A build/src as ci/apply.sh leaves it.
applied() {
    cp -a "$FIXTURES/applied/build" .
}

based() {
    ci/base.sh --tarball "$TARBALL" 2>/dev/null
}

# Makes a patch not apply: the second of its two files, or its only hunk.
break_second() {
    sed -i 's/^ M: Mary Keeper/ M: Somebody Else/' patches/alpha/0002-*.patch
}

break_first() {
    sed -i 's/^     int i, n = 0;/     int i, n = 1;/' patches/alpha/0001-*.patch
}

# What ci/apply.sh asks for when it stopped at break_second.
mend_second() {
    (
        cd build/src
        echo 'F: tests/unit/test-words.c' >>MAINTAINERS
        rm MAINTAINERS.rej
        git add -A
        git am --continue
    ) >/dev/null
}

tree() { # REV
    rev "$1^{tree}"
}

tip_tree() {
    sed -n 's/^# tip-tree: //p' series
}

saved() {
    git -C "$SRC" for-each-ref --format='%(refname)' refs/thrift/saved
}

# One commit that no patch has.
own_commit() {
    echo own >"$SRC/own.txt"
    git -C "$SRC" add own.txt
    git -C "$SRC" commit -q -m 'own: work of a developer'
}

# kept COMMIT: it is still on a branch or under refs/thrift.
kept() {
    git -C "$SRC" for-each-ref --contains "$1" | grep -q . || [ "$(rev HEAD)" = "$1" ]
}

# git that ends the stage at its Nth 'am': before it, or after the commit.
kill_at_am() { # N before|after
    local real
    real=$(command -v git)
    echo 0 >"$BATS_TEST_TMPDIR/n"
    stub git <<END
#!/bin/sh
case " \$* " in
*' am -q '*)
    n=\$(($(printf '$(cat %q)' "$BATS_TEST_TMPDIR/n") + 1))
    echo \$n >$BATS_TEST_TMPDIR/n
    if [ \$n = $1 ]; then
        [ $2 = before ] || $real "\$@"
        kill -TERM \$PPID
        exit 1
    fi
    ;;
esac
exec $real "\$@"
END
}

@test "the queue is applied, with k/N progress on stderr" {
    based
    run -0 --separate-stderr ci/apply.sh
    same "$output" ''
    output=$stderr
    golden apply
    same "$(tree queue)" "$(tip_tree)"
    same "$(git -C "$SRC" symbolic-ref HEAD)" refs/heads/queue
    [ -z "$(git -C "$SRC" status --porcelain)" ]
    same "$(rev topic/alpha)" "$(rev queue~)"
    same "$(rev topic/beta)" "$(rev queue)"
}

@test "authors, dates and messages are those of the patches" {
    based
    ci/apply.sh
    output=$(git -C "$SRC" log -3 --encoding=UTF-8 --format='%an <%ae> %aI%n%B' queue)
    golden log
}

@test "a second run applies nothing and touches no file" {
    applied
    head=$(rev HEAD)
    moves=$(git -C "$SRC" reflog | wc -l)
    find build/src -path '*/.git' -prune -o -type f -exec touch -d 2020-01-01 {} +
    run -0 ci/apply.sh
    says '[3/3] as applied before'
    never_says '] alpha/'
    same "$(rev HEAD)" "$head"
    same "$(git -C "$SRC" reflog | wc -l)" "$moves"
    [ -z "$(find build/src -path '*/.git' -prune -o -type f -newermt 2020-01-02 -print)" ]
}

@test "only what changed is applied anew, only its files are written" {
    applied
    sed -i 's/They are counted by words/They are counted by whole words/' patches/beta/0001-*.patch
    sed -i '/^# tip-tree/d' series
    find build/src -path '*/.git' -prune -o -type f -exec touch -d 2020-01-01 {} +
    git -C "$SRC" update-index -q --refresh
    run ci/apply.sh
    says '[2/3] as applied before'
    never_says '] alpha/'
    says '[3/3] beta/0001'
    same "$(cd build/src && find . -path ./.git -prune -o -type f -newermt 2020-01-02 -print | sort | paste -sd' ')" \
        './docs/pages.rst ./migration/ram.c'
}

@test "a changed first patch: all are applied anew" {
    applied
    sed -i 's/whole word of$/complete word of/' patches/alpha/0001-*.patch
    run -0 ci/apply.sh
    never_says 'as applied before'
    says '[3/3] beta/0001'
    same "$(tree queue)" "$(tip_tree)"
    git -C "$SRC" log -1 --format=%b queue~2 | grep -q 'complete word'
}

@test "two checkouts get the same commit ids, whatever the user's git says" {
    based
    ci/apply.sh
    first=$(rev queue)
    cp -a "$FIXTURES/clone" "$BATS_TEST_TMPDIR/second"
    (
        cd "$BATS_TEST_TMPDIR/second"
        umask 077
        hostile_config
        hostile_env
        ci/base.sh --tarball "$TARBALL"
        ci/apply.sh
    )
    same "$(git -C "$BATS_TEST_TMPDIR/second/build/src" rev-parse queue)" "$first"
}

@test "git quiltimport gives the same tree" {
    applied
    git -C "$SRC" worktree add -q --detach "$BATS_TEST_TMPDIR/tree" refs/thrift/base
    cd "$BATS_TEST_TMPDIR/tree"
    git quiltimport --patches "$REPO/patches" --series "$REPO/series" >/dev/null
    same "$(git rev-parse 'HEAD^{tree}')" "$(tree queue)"
}

@test "quilt push -a --fuzz=0 gives the same tree" {
    applied
    git -C "$SRC" worktree add -q --detach "$BATS_TEST_TMPDIR/tree" refs/thrift/base
    cd "$BATS_TEST_TMPDIR/tree"
    QUILT_PATCHES=$REPO/patches QUILT_SERIES=$REPO/series QUILT_PC=$BATS_TEST_TMPDIR/pc \
        quilt --quiltrc - push -a --fuzz=0
    git add -A -f
    same "$(git write-tree)" "$(tree queue)"
}

@test "--variant topic-NAME without needs: all topics before it, in a tree of its own" {
    based
    run -0 ci/apply.sh --variant topic-alpha
    says 'topic-alpha: 2 patches'
    never_says beta
    src=build/topic-alpha.d/src
    same "$(git -C $src log -1 --format=%s)" 'tests/unit: test the count by words'
    [ -f $src/tests/unit/test-words.c ]
    [ -z "$(git -C $src status --porcelain)" ]
    ci/apply.sh
    same "$(git -C $src rev-parse HEAD)" "$(rev topic/alpha)"
    run -0 ci/apply.sh --variant topic-beta
    says '[3/3] as applied before'
    same "$(git -C build/topic-beta.d/src rev-parse HEAD)" "$(rev queue)"
}

@test "--variant topic-NAME leaves out what the topic does not need" {
    applied
    echo '# nothing' >patches/beta/needs
    ci/export.sh
    same "$(grep -A2 'topic: beta' series | paste -sd' ')" \
        '# topic: beta # needs: none beta/0001-docs-say-how-pages-are-counted.patch'
    run -0 ci/apply.sh --variant topic-beta
    says 'topic-beta: 1 patches'
    src=build/topic-beta.d/src
    same "$(git -C $src rev-parse HEAD~)" "$(rev refs/thrift/base)"
    [ ! -e $src/tests/unit/test-words.c ]
    grep -q 'counted by words' $src/docs/pages.rst
    echo alpha >patches/beta/needs
    ci/export.sh
    grep -qx '# needs: alpha' series
    run -0 ci/apply.sh --variant topic-beta
    says 'topic-beta: 3 patches'
}

@test "--variant pristine is the base alone, in a tree of its own" {
    applied
    run -0 ci/apply.sh --variant pristine
    says 'pristine: 0 patches'
    same "$(git -C build/pristine.d/src rev-parse HEAD)" "$(rev refs/thrift/base)"
    [ -z "$(git -C build/pristine.d/src status --porcelain)" ]
    grep -q test_bit build/pristine.d/src/migration/ram.c
    same "$(rev HEAD)" "$(rev queue)"
    run -0 ci/apply.sh --variant pristine
}

@test "--dry-run names the patches and does nothing" {
    run -0 --separate-stderr ci/apply.sh --dry-run
    same "$output" "$(grep -v '^#' series)"
    run -0 --separate-stderr ci/apply.sh --dry-run --variant topic-alpha
    same "$output" "$(grep '^alpha/' series)"
    run -0 --separate-stderr ci/apply.sh --dry-run --variant pristine
    same "$output" ''
    [ ! -e build ]
}

@test "a patch in series that is not there is named" {
    applied
    rm patches/beta/0001-*.patch
    run -1 ci/apply.sh
    one_line 'series names beta/0001'
    kept "$(rev queue)"
}

@test "a patch that does not apply: stops there, shows the reject, says how to go on" {
    based
    break_second
    run -1 ci/apply.sh
    output=${output//"$REPO"/REPO}
    golden apply-stops
    same "$(git -C "$SRC" log -1 --format=%s)" 'migration/ram: count pages by words'
}

@test "after that a plain run waits, and says for what" {
    based
    break_second
    run -1 ci/apply.sh
    run -1 ci/apply.sh
    one_line 'waits to be mended in build/src'
    run -1 ci/apply.sh --continue
    one_line 'waits to be mended in build/src'
    run -1 ci/export.sh
    one_line 'in the middle of'
    mend_second
    run -1 ci/apply.sh
    one_line 'go on with --continue'
}

@test "a patch that is no mail stops the run, and the reason is told" {
    based
    echo nonsense >"$(patch_file beta/0001)"
    run -1 ci/apply.sh
    says 'error: 3/3 patches/beta/0001'
    says 'o valid patch'
    git checkout -q patches
    run -1 ci/apply.sh --continue
    one_error beta/0001
    run -0 ci/apply.sh --force
    same "$(tree queue)" "$(tip_tree)"
}

@test "mending: git am --continue, apply.sh --continue, export.sh" {
    based
    break_second
    run -1 ci/apply.sh
    mend_second
    run -0 ci/apply.sh --continue
    says '[2/3] as applied before'
    says '[3/3] beta/0001'
    run -0 ci/export.sh
    # What was mended is what the patch was before it was broken.
    [ -z "$(git status --porcelain patches series)" ]
    run -0 ci/apply.sh
    says '[3/3] as applied before'
}

@test "what was mended is not lost by a run before the export" {
    based
    break_second
    run -1 ci/apply.sh
    mend_second
    ci/apply.sh --continue
    mended=$(rev HEAD)
    run -1 ci/apply.sh
    one_error ci/export.sh
    same "$(rev queue)" "$mended"
}

@test "--continue after git am --abort or --skip does not drop the patch" {
    for how in --abort --skip; do
        rm -rf build
        git checkout -q patches
        based
        break_second
        run -1 ci/apply.sh
        git -C "$SRC" am -q "$how"
        run -1 ci/apply.sh --continue
        one_error alpha/0002
    done
}

@test "--continue with nothing to continue is refused" {
    applied
    run -1 ci/apply.sh --continue
    one_line 'nothing to continue'
}

@test "--force starts over after a patch that did not apply, whole or in part" {
    for which in first second; do
        rm -rf build
        based
        "break_$which"
        run -1 ci/apply.sh
        git checkout -q patches
        run -0 ci/apply.sh --force
        same "$(tree queue)" "$(tip_tree)"
        [ -z "$(git -C "$SRC" status --porcelain --untracked-files=no)" ]
        run -0 ci/apply.sh
    done
}

@test "commits that were not exported are not lost" {
    applied
    own_commit
    own=$(rev HEAD)
    run -1 ci/apply.sh
    one_line 'changes that are not in patches/'
    same "$(rev queue)" "$own"
}

@test "changes that were not committed are not lost" {
    applied
    echo mine >>"$SRC/VERSION"
    run -1 ci/apply.sh
    one_line 'changes that are not in patches/'
    grep -q mine "$SRC/VERSION"
}

@test "commits below an am of the developer's own are not lost" {
    applied
    own_commit
    own=$(rev HEAD)
    printf 'From: A <a@example.com>\nSubject: [PATCH] x\n\n---\n--- a/VERSION\n+++ b/VERSION\n@@ -1 +1 @@\n-9\n+8\n' \
        >"$BATS_TEST_TMPDIR/bad.patch"
    run ! git -C "$SRC" am -q "$BATS_TEST_TMPDIR/bad.patch"
    run -1 ci/apply.sh
    one_line build/src
    kept "$own"
}

@test "commits in the middle of a rebase are not lost" {
    applied
    own_commit
    own=$(rev HEAD)
    for how in --apply --merge; do
        git -C "$SRC" checkout -q -B side refs/thrift/base
        echo theirs >"$SRC/own.txt"
        git -C "$SRC" add own.txt
        git -C "$SRC" commit -q -m side
        git -C "$SRC" checkout -q queue
        run ! git -C "$SRC" rebase -q "$how" side
        run -1 ci/apply.sh
        one_line build/src
        git -C "$SRC" rebase --abort
        same "$(rev queue)" "$own"
    done
}

@test "--force keeps commits and changes under refs/thrift/saved/" {
    applied
    queue=$(rev queue)
    own_commit
    own=$(rev HEAD)
    echo mine >>"$SRC/VERSION"
    echo new >"$SRC/new.txt"
    run -0 ci/apply.sh --force
    says 'saved what was there as refs/thrift/saved/'
    same "$(rev HEAD)" "$queue"
    [ -z "$(git -C "$SRC" status --porcelain)" ]
    ref=$(saved)
    git -C "$SRC" merge-base --is-ancestor "$own" "$ref"
    git -C "$SRC" show "$ref:VERSION" | grep -q mine
    same "$(git -C "$SRC" show "$ref:new.txt")" new
}

@test "--force twice in a second keeps both" {
    applied
    stub date <<'END'
#!/bin/sh
echo 20260101T000000Z
END
    own_commit
    first=$(rev HEAD)
    ci/apply.sh --force
    own_commit
    git -C "$SRC" commit -q --amend -m 'own: something else'
    second=$(rev HEAD)
    ci/apply.sh --force
    kept "$second"
    kept "$first"
}

@test "--force with nothing of one's own is harmless" {
    applied
    queue=$(rev queue)
    run -0 ci/apply.sh --force
    same "$(rev queue)" "$queue"
}

@test "an am that was cut off is taken back, and the run goes on" {
    based
    cp series "$BATS_TEST_TMPDIR/series"
    sed -i -e '/^beta/d' -e '/0002-/d' -e '/tip-tree/d' series
    run ci/apply.sh
    cp "$BATS_TEST_TMPDIR/series" series
    break_second
    run ! git -C "$SRC" am -q "$REPO"/patches/alpha/0002-*.patch
    [ -d build/src/.git/rebase-apply ]
    git checkout -q patches
    run -0 ci/apply.sh
    says '[1/3] as applied before'
    same "$(tree queue)" "$(tip_tree)"
}

goes_on_where_ended() { # WHERE: the second patch, before or after
    based
    kill_at_am 2 "$1"
    run ci/apply.sh
    same "$status" 143
    run -0 ci/apply.sh
    says '[1/3] as applied before'
    same "$(tree queue)" "$(tip_tree)"
}

@test "a run that was ended before a patch goes on there" {
    goes_on_where_ended before
}

@test "a run that was ended right behind a patch goes on there" {
    goes_on_where_ended after
}

@test "context that moved by lines is fine, by fuzz is not" {
    applied
    # Somewhere else in the file: an offset.
    sed -i 's/^@@ -9,8 +9,8 @@/@@ -5,8 +5,8 @@/' patches/alpha/0001-*.patch
    run -0 ci/apply.sh
    # Another outermost line: patch takes it with fuzz, nothing here does.
    sed -i 's/^ {$/ [/' patches/alpha/0001-*.patch
    git -C "$SRC" worktree add -q --detach "$BATS_TEST_TMPDIR/tree" refs/thrift/base
    (cd "$BATS_TEST_TMPDIR/tree" && patch --dry-run -p1 <"$(patch_file alpha/0001)") | grep fuzz
    run -1 ci/apply.sh
    says '1/3 patches/alpha/0001'
    cd "$BATS_TEST_TMPDIR/tree"
    QUILT_PATCHES=$REPO/patches QUILT_SERIES=$REPO/series QUILT_PC=$BATS_TEST_TMPDIR/pc \
        run ! quilt --quiltrc - push -a --fuzz=0
}

@test "a patch that was edited by hand is noticed, and the export takes it" {
    for state in fresh applied; do
        rm -rf build
        git checkout -q patches series
        if [ "$state" = fresh ]; then based; else applied; fi
        sed -i 's/They are counted by words/They are counted by hand/' patches/beta/0001-*.patch
        run -1 ci/apply.sh
        one_error 'patches/ were changed by hand'
        run -0 ci/export.sh
        run -0 ci/apply.sh
        same "$(git diff --name-only | paste -sd' ')" \
            "patches/$(grep ^beta/ series) series"
    done
}

@test "a topic that left the queue leaves no branch behind" {
    applied
    git rm -q -r patches/beta
    sed -i '/beta/d' series
    sed -i "s/^# tip-tree: .*/# tip-tree: $(tree topic/alpha)/" series
    run -0 ci/apply.sh
    run -0 ci/export.sh --check
}

@test "an exported branch of one's own is applied with its topics" {
    applied
    git -C "$SRC" checkout -q -b mine
    own_commit
    ci/export.sh
    before=$(sum patches series)
    run -0 ci/apply.sh
    same "$(rev topic/alpha)" "$(rev HEAD~2)"
    same "$(rev topic/beta)" "$(rev HEAD)"
    ci/export.sh
    same "$(sum patches series)" "$before"
}

@test "an empty queue is applied: the base" {
    based
    git rm -q -r patches
    mkdir patches
    sed -i '/^#/!d; /topic/d; /tip-tree/d' series
    echo "# tip-tree: $(sed -n 's/^# base-tree: //p' series)" >>series
    run -0 ci/apply.sh
    same "$(rev HEAD)" "$(rev refs/thrift/base)"
    run -0 ci/export.sh
}

@test "both bases take the queue, and neither makes the export differ" {
    git clone -q "$UPSTREAM" upstream
    ci/base.sh
    run -0 ci/apply.sh
    same "$(git -C "$SRC" show queue:pc-bios/bios.txt)" blob
    run -0 ci/export.sh --check
    ci/base.sh --tarball "$TARBALL"
    run -0 ci/apply.sh
    same "$(tree queue)" "$(tip_tree)"
    run -0 ci/export.sh --check
}
