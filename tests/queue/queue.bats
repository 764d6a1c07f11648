#!/usr/bin/env bats
# The real queue: applied three ways, exported again.  Wants build/src as
# ci/apply.sh leaves it.

setup_file() {
    ROOT=$(cd "$BATS_TEST_DIRNAME/../.." && pwd -P)
    export ROOT SRC=$ROOT/build/src
    export HOME=$BATS_FILE_TMPDIR/home
    mkdir -p "$HOME"
    want=$(git -C "$SRC" rev-parse 'queue^{tree}')
    export want
}

teardown() {
    [ ! -d "$BATS_TEST_TMPDIR/tree" ] ||
        git -C "$SRC" worktree remove --force "$BATS_TEST_TMPDIR/tree"
}

# A work tree of the base that holds only the files that the queue touches.
base_tree() {
    git -C "$SRC" worktree add -q --no-checkout --detach "$BATS_TEST_TMPDIR/tree" refs/thrift/base
    cd "$BATS_TEST_TMPDIR/tree"
    git -C "$SRC" diff --name-only refs/thrift/base queue | sed 's,^,/,' |
        git sparse-checkout set --no-cone --stdin
    git read-tree -mu HEAD
    export GIT_COMMITTER_NAME=Tester GIT_COMMITTER_EMAIL=tester@example.com
}

@test "the applied tree is the one that series names" {
    [ "$want" = "$(sed -n 's/^# tip-tree: //p' "$ROOT/series")" ]
}

@test "git quiltimport gives the same tree" {
    base_tree
    git quiltimport --patches "$ROOT/patches" --series "$ROOT/series" >/dev/null
    [ "$(git rev-parse 'HEAD^{tree}')" = "$want" ]
}

@test "quilt push -a --fuzz=0 gives the same tree" {
    base_tree
    QUILT_PATCHES=$ROOT/patches QUILT_SERIES=$ROOT/series QUILT_PC=$BATS_TEST_TMPDIR/pc \
        quilt --quiltrc - push -a --fuzz=0
    git diff --name-only refs/thrift/base queue | git add -f --pathspec-from-file=-
    [ "$(git write-tree)" = "$want" ]
}

@test "the export changes no byte, whatever the user's git is set to" {
    cat >"$HOME/.gitconfig" <<'EOF'
[diff]
    noprefix = true
    context = 9
    renames = copies
    algorithm = patience
[core]
    abbrev = 7
    autocrlf = true
    hooksPath = /nonexistent
[format]
    signature = me
    headers = "X-Mine: yes\n"
    useAutoBase = true
    signOff = true
    attach = true
    suffix = .mail
    numbered = true
    from = true
[commit]
    gpgSign = true
EOF
    GIT_DIR=/nonexistent GIT_AUTHOR_NAME=Somebody run "$ROOT/ci/export.sh" --check
    echo "$output"
    [ "$status" = 0 ]
}
