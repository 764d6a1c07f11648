#!/usr/bin/env bats
# ci/export.sh: the same bytes whoever exports, what it follows, what it
# refuses.

load helper

setup() {
    tiny applied
    before=$(sum patches series)
}

# dev ARGUMENTS...: git as a developer uses it in build/src.
dev() {
    git -C "$SRC" "$@"
}

own_commit() { # SUBJECT [FILE]
    echo "$1" >>"$SRC/${2:-own.txt}"
    dev add "${2:-own.txt}"
    dev commit -q -m "$1

A message that says in some words what this is for, and why."
}

refused() { # TEXT
    run -1 ci/export.sh
    one_error "$1"
    same "$(sum patches series)" "$before"
    [ -z "$(find build -maxdepth 1 -name 'export.*')" ]
    same "$(git -C "$SRC" worktree list | wc -l)" 1
}

untouched() {
    same "$(sum patches series)" "$before"
}

@test "apply, export, apply, export: not a byte changes" {
    ci/export.sh
    untouched
    rm -rf build
    ci/base.sh --tarball "$TARBALL"
    ci/apply.sh
    run -0 ci/export.sh
    says 'nothing changed'
    untouched
    ci/apply.sh
    ci/export.sh
    untouched
    [ -z "$(git status --porcelain)" ]
}

@test "what is exported is what it was elsewhere" {
    output=$(cat series patches/alpha/*.patch)
    golden export
}

@test "a user's git configuration changes nothing" {
    hostile_config
    run -0 ci/export.sh
    says 'nothing changed'
    run -0 ci/apply.sh --force
    run -0 ci/export.sh --check
    untouched
}

@test "neither do variables of git" {
    hostile_config
    hostile_env
    run -0 ci/export.sh
    run -0 ci/apply.sh --force
    run -0 ci/export.sh --check
    untouched
}

@test "neither does the configuration of build/src" {
    echo 'migration/*' >"$HOME/order"
    while read -r key value; do
        dev config "$key" "$value"
    done <<END
core.abbrev 7
diff.noprefix true
diff.mnemonicPrefix true
diff.context 7
diff.interHunkContext 30
diff.renames copies
diff.algorithm patience
diff.external /bin/false
diff.orderFile $HOME/order
diff.suppressBlankEmpty true
format.signature hostile
format.headers X-Hostile: yes
format.useAutoBase true
format.signOff true
format.attach true
format.from true
format.numbered true
format.coverLetter true
format.subjectPrefix HOSTILE
format.suffix .mail
format.thread true
format.notes true
format.to to@example.com
format.cc cc@example.com
format.encodeEmailHeaders false
format.filenameMaxLength 20
i18n.logOutputEncoding ISO-8859-1
color.ui always
END
    dev notes add -m 'a note of mine'
    run -0 ci/export.sh --check
    run -0 ci/export.sh
    untouched
}

@test "a commit made under that configuration is exported as any other" {
    hostile_config
    echo more >>"$SRC/VERSION"
    dev add VERSION
    dev -c core.hooksPath=/dev/null -c commit.gpgSign=false commit -q -m $'version: a na\xefve change\n
Its message is stored in the encoding of the user, and is written to the
queue as all the others.'
    same "$(dev log -1 --format=%e)" ISO-8859-1
    ci/export.sh
    nr=$(patch_file beta/0002)
    grep -q 'Subject: \[PATCH\] =?UTF-8?q?version:=20a=20na=C3=AFve=20change' "$nr"
    run ! grep -qiE 'hostile\b.*(yes|signature)|Signed-off-by|HOSTILE\]' "$nr"
    same "$(grep -c '^@@' "$nr")" 1
    rm -rf build
    ci/base.sh --tarball "$TARBALL"
    ci/apply.sh
    same "$(dev show HEAD:VERSION | tail -n 1)" more
    run -0 ci/export.sh --check
}

@test "an export that changes nothing writes nothing" {
    find patches series -exec touch -d 2020-01-01 {} +
    ci/export.sh
    [ -z "$(find patches series -newermt 2020-01-02)" ]
}

@test "a commit behind the last topic belongs to it, and is not applied again" {
    own_commit 'own: more'
    head=$(rev HEAD)
    run -0 ci/export.sh
    says '[4/4] beta/0002-own-more.patch'
    same "$(tail -n 1 series)" beta/0002-own-more.patch
    same "$(rev topic/beta)" "$head"
    run -0 ci/apply.sh
    says '[4/4] as applied before'
    same "$(rev HEAD)" "$head"
    # All the others stay as they were, byte by byte.
    same "$(git status --porcelain patches)" '?? patches/beta/0002-own-more.patch'
}

@test "git rebase -i: an edit in the first topic moves the topics" {
    alpha=$(rev topic/alpha)
    GIT_SEQUENCE_EDITOR='sed -i "1s/^pick/edit/"' dev rebase -q -i refs/thrift/base
    sed -i 's/BITS_PER_LONG/64/' "$SRC/migration/ram.c"
    dev commit -q -a --amend --no-edit
    GIT_EDITOR=true dev rebase --continue
    same "$(rev topic/alpha)" "$(rev queue~)"
    same "$(rev topic/beta)" "$(rev queue)"
    [ "$(rev topic/alpha)" != "$alpha" ]
    ci/export.sh
    grep -q '^+    for (i = 0; i < bits; i += 64) {' patches/alpha/0001-*.patch
    same "$(git diff --name-only | xargs -n 1 basename | paste -sd' ')" \
        '0001-migration-ram-count-pages-by-words.patch 0001-docs-say-how-pages-are-counted.patch series'
    run -0 ci/lint.py
    head=$(rev HEAD)
    ci/apply.sh
    same "$(rev HEAD)" "$head"
}

@test "git rebase -i: a new subject renames the patch" {
    GIT_SEQUENCE_EDITOR='sed -i "1s/^pick/reword/"' \
        GIT_EDITOR='sed -i "1s/by words/by longs/"' dev rebase -q -i refs/thrift/base
    ci/export.sh
    same "$(cd patches && echo alpha/0001-*)" alpha/0001-migration-ram-count-pages-by-longs.patch
    run -0 ci/lint.py
}

@test "git rebase -i: a dropped commit is dropped, the rest counts anew" {
    GIT_SEQUENCE_EDITOR='sed -i "1s/^pick/drop/"' dev rebase -q -i refs/thrift/base
    ci/export.sh
    same "$(grep -v '^#' series | paste -sd' ')" \
        'alpha/0001-tests-unit-test-the-count-by-words.patch beta/0001-docs-say-how-pages-are-counted.patch'
    run -0 ci/lint.py --rule series_is_disk --rule numbering
    run -0 ci/apply.sh
}

@test "a new topic: a branch at its last commit" {
    own_commit 'own: one'
    own_commit 'own: two'
    dev branch topic/gamma
    ci/export.sh
    same "$(grep -A9 'topic: gamma' series | paste -sd' ')" \
        '# topic: gamma gamma/0001-own-one.patch gamma/0002-own-two.patch'
    same "$(git diff --name-only)" series
    run -1 ci/lint.py
    says 'cover: patches/gamma/cover.txt: missing'
    run -0 ci/apply.sh --variant topic-gamma
}

@test "a topic in two: a branch in its middle" {
    dev branch topic/early topic/alpha~
    ci/export.sh
    same "$(grep -v '^# base\|^# tip\|^# The' series | paste -sd' ')" \
        '# topic: early early/0001-migration-ram-count-pages-by-words.patch # topic: alpha alpha/0001-tests-unit-test-the-count-by-words.patch # topic: beta beta/0001-docs-say-how-pages-are-counted.patch'
    [ -f patches/alpha/cover.txt ]
    run -0 ci/apply.sh
}

@test "two topics in one: the first branch deleted" {
    dev branch -q -D topic/alpha
    ci/export.sh
    same "$(series_names)" 'beta/0001 beta/0002 beta/0003'
}

series_names() {
    grep -v '^#' series | cut -d- -f1 | paste -sd' '
}

exported_comes_back() {
    local want
    want=$(rev 'HEAD^{tree}')
    ci/export.sh
    rm -rf build
    ci/base.sh --tarball "$TARBALL"
    ci/apply.sh
    same "$(rev 'HEAD^{tree}')" "$want"
}

@test "all sorts of changes survive" {
    dev rm -q data.bin
    dev mv docs/pages.rst docs/all-pages.rst
    ln -sf COPYING "$SRC/RELEASE"
    chmod -x "$SRC/configure"
    printf 'no newline at the end' >"$SRC/VERSION"
    printf '\0\1\2' >"$SRC/blob"
    : >"$SRC/empty"
    mkdir "$SRC/out"
    echo ignored >"$SRC/out/file"
    dev add -A -f
    dev commit -q -m 'all: sorts of changes

Removed, moved, linked, made binary, and so on.'
    exported_comes_back
}

@test "a file with lines of DOS can be patched" {
    printf 'lines\r\nof another DOS\r\n' >"$SRC/dos.txt"
    dev commit -q -a -m 'dos: another one

Its lines end with two characters.'
    exported_comes_back
}

@test "--check: 0 if patches/ is up to date, 1 if not, never writes" {
    run -0 ci/export.sh --check
    # What belongs to a topic and is no patch
    echo list@example.org >patches/alpha/private
    echo a-test >patches/alpha/tests
    run -0 ci/export.sh --check
    rm patches/alpha/private patches/alpha/tests
    own_commit 'own: more'
    run -1 ci/export.sh --check
    one_error 'patches/ is not what build/src holds'
    untouched
    ci/export.sh
    run -0 ci/export.sh --check
    echo >>"$(patch_file alpha/0001)"
    run -1 ci/export.sh --check
    git checkout -q patches
    echo '# mine' >>series
    run -1 ci/export.sh --check
    grep -qx '# mine' series
}

@test "--check finds a patch that should not be there" {
    cp patches/beta/0001-*.patch patches/beta/0002-again.patch
    run -1 ci/export.sh --check
    ci/export.sh
    [ ! -e patches/beta/0002-again.patch ]
}

@test "cover letters are left alone" {
    echo more >>patches/alpha/cover.txt
    own_commit 'own: more'
    ci/export.sh
    same "$(tail -n 1 patches/alpha/cover.txt)" more
}

@test "merges are refused" {
    dev checkout -q -b side topic/alpha
    own_commit 'own: side' side.txt
    dev checkout -q queue
    dev merge -q --no-ff -m 'a merge' side
    refused 'merge'
}

@test "changes that are not committed are refused" {
    echo mine >>"$SRC/VERSION"
    refused 'not committed'
    dev add -u
    refused 'not committed'
}

@test "the middle of a rebase or am is refused" {
    GIT_SEQUENCE_EDITOR='sed -i "1s/^pick/edit/"' dev rebase -q -i refs/thrift/base
    refused 'in the middle'
    dev rebase --abort
    dev format-patch -q -1 -o "$BATS_TEST_TMPDIR"
    run ! dev am -q "$BATS_TEST_TMPDIR"/*.patch
    refused 'in the middle'
}

@test "commits without a topic are refused" {
    dev branch -q -D topic/alpha topic/beta
    refused 'no topic'
}

@test "a HEAD that is not on the base is refused" {
    dev checkout -q --orphan other
    dev commit -q -m other
    refused 'not built on the base'
}

@test "a topic that is not on the line is refused and named" {
    dev branch -q -f topic/alpha refs/thrift/base~
    dev checkout -q -b side refs/thrift/base
    own_commit 'own: side' side.txt
    dev branch -q -f topic/alpha side
    dev checkout -q queue
    refused 'topic/alpha is not on the line'
}

@test "a stale last topic is refused and named, it gets nobody else's commits" {
    dev checkout -q -b side refs/thrift/base
    for n in 1 2 3 4 5 6; do own_commit "own: $n" side.txt; done
    dev branch -q topic/stale
    dev checkout -q queue
    own_commit 'own: more'
    refused 'topic/stale'
}

@test "a topic without commits is refused and named" {
    dev branch topic/gamma topic/beta
    refused 'has no commits: delete'
}

@test "an empty commit is refused" {
    dev commit -q --allow-empty -m 'own: empty

Nothing is in this commit, so that git am will not take it.'
    refused 'round trip: beta/0002-own-empty.patch'
}

@test "a message that git am would cut or change is refused" {
    own_commit 'own: cut'
    dev commit -q --amend -m 'own: cut

What comes next ends the message.

---

This would be lost.'
    refused 'round trip: beta/0002'
    dev commit -q --amend -m '[own] tagged: this would be cut

A message that says in some words what this is for, and why.'
    refused 'round trip: beta/0002'
}

@test "a run that stopped is finished before anything is exported" {
    # Somebody else's patch came in, and does not apply.
    cat >patches/beta/0002-theirs.patch <<'END'
From 0000000000000000000000000000000000000000 Mon Sep 17 00:00:00 2001
From: Ada Tester <ada@example.com>
Date: Wed, 4 Mar 2026 12:00:00 +0000
Subject: [PATCH] version: theirs

---
 VERSION | 2 +-
 1 file changed, 1 insertion(+), 1 deletion(-)

diff --git a/VERSION b/VERSION
--- a/VERSION
+++ b/VERSION
@@ -1 +1 @@
-9.0
+9.1
END
    echo beta/0002-theirs.patch >>series
    run -1 ci/apply.sh
    says '4/4 patches/beta/0002-theirs.patch does not apply'
    dev am --abort
    rm -f "$SRC"/*.rej
    before=$(sum patches series)
    refused 'beta/0002-theirs.patch'
}

@test "when the copying fails no patch is gone" {
    own_commit 'own: more'
    stub cp <<'END'
#!/bin/sh
echo 'cp: no space left' >&2
exit 1
END
    run ! ci/export.sh
    grep -v '^#' series | while read -r patch; do [ -s "patches/$patch" ]; done
}

@test "the first export of a queue needs no folder patches/" {
    rm -rf patches series
    : >series
    ci/export.sh
    git checkout -q patches/STATUS.rst 'patches/*/cover.txt'
    [ -z "$(git status --porcelain)" ]
}
