#!/usr/bin/env bash
# Apply the queue to the base with git am: build/src, or a tree of its own.
set -euo pipefail
# shellcheck source=ci/lib/env.sh
. "$(dirname "$0")/lib/env.sh"

usage() {
    cat <<'EOF'
examples:
  ci/apply.sh                        the whole queue, in build/src
  ci/apply.sh --variant pristine     the base alone, in build/pristine.d/src
  ci/apply.sh --variant topic-NAME   topic NAME and the topics it needs, no others

options:
  --variant NAME   patched (default), pristine or topic-NAME
  --continue       go on after a patch that did not apply was mended
  --force          start over; what is not exported is kept under
                   refs/thrift/saved/ in build/src
  --dry-run        list the patches, do nothing

Applied patches are known again by content, so a second run does only what
changed.  Exit status: 0 applied, 1 a patch does not apply or something would
be lost, 2 wrong use.
EOF
}

variant=patched force='' continue='' dry=''
while [ $# -gt 0 ]; do
    case $1 in
    --help | -h)
        usage
        exit 0
        ;;
    --variant)
        [ $# -gt 1 ] || usage_error "$1 needs a value"
        variant=$2
        shift
        ;;
    --continue) continue=1 ;;
    --force) force=1 ;;
    --dry-run) dry=1 ;;
    *) usage_error "unknown option '$1'" ;;
    esac
    shift
done

case $variant in
patched)
    dest=$SRC
    mapfile -t patches < <(series_patches)
    ;;
pristine)
    dest=$BUILD/pristine.d/src
    patches=()
    ;;
topic-*)
    dest=$BUILD/$variant.d/src
    check_topic "${variant#topic-}"
    mapfile -t patches < <(series_patches "${variant#topic-}")
    ;;
*) usage_error "no variant '$variant'" ;;
esac
total=${#patches[@]}
for patch in "${patches[@]}"; do
    [ -f "$ROOT/patches/$patch" ] ||
        die "series names $patch, which is not in patches/: run ci/lint.py"
done
if [ -n "$dry" ]; then
    [ "$total" = 0 ] || printf '%s\n' "${patches[@]}"
    exit 0
fi
base=$(git -C "$SRC" rev-parse -q --verify refs/thrift/base 2>/dev/null) ||
    die "there is no base yet: run ci/base.sh"
lock_build

if [ ! -e "$dest/.git" ]; then
    mkdir -p "${dest%/src}"
    add_worktree --no-checkout "$dest" "$base"
    qgit -C "$dest" reset -q --hard
fi
gitdir=$(git -C "$dest" rev-parse --absolute-git-dir)
applied=$gitdir/thrift-applied # HEAD as the last run, or export, left it
failed=$gitdir/thrift-failed   # how many patches to skip, the patch, HEAD
running=$gitdir/thrift-running # there while a run is at work
name=${dest#"$ROOT"/}
head=$(git -C "$dest" rev-parse -q --verify HEAD || true)
at=$(cat "$applied" 2>/dev/null || true)

save_what_is_there() {
    local ref tip n=
    ref=refs/thrift/saved/$(date -u +%Y%m%dT%H%M%SZ)
    while git -C "$SRC" rev-parse -q --verify "$ref$n" >/dev/null; do
        n=-$((${n#-} + 1))
    done
    git -C "$dest" add -A
    tip=$(qgit -C "$dest" stash create 2>/dev/null || true)
    git -C "$dest" update-ref "$ref$n" "${tip:-HEAD}"
    note "saved what was there as $ref$n"
}

is_clean() {
    [ -z "$(git -C "$dest" status --porcelain --untracked-files=no)" ]
}

# A run that was ended right behind git am left HEAD one commit of ours ahead.
head_is_known() {
    [ "$head" = "$at" ] ||
        [ "$(git -C "$dest" log -1 --format='%P %ce' "$head")" = "$at queue@qemu-thrift.invalid" ]
}

if [ -n "$head" ] && [ -n "$force" ]; then
    { [ ! -e "$failed" ] && head_is_known && is_clean; } || save_what_is_there
    rm -rf "$gitdir/rebase-apply" "$gitdir/rebase-merge" "$failed"
elif [ -n "$head" ] && [ -e "$failed" ]; then
    read -r _ patch was <"$failed"
    [ ! -d "$gitdir/rebase-apply" ] ||
        die "$patch waits to be mended in $name: finish it with 'git am --continue', or start over with --force"
    [ -n "$continue" ] ||
        die "the run stopped at $patch: go on with --continue, or start over with --force"
    [ "$head" != "$was" ] ||
        die "$patch is not among the commits of $name: apply it by hand and --continue, or start over with --force"
elif [ -n "$head" ] && [ -n "$continue" ]; then
    die "there is nothing to continue: run ci/apply.sh"
elif [ -d "$gitdir/rebase-merge" ] || [ -e "$gitdir/rebase-apply/rebasing" ]; then
    die "$name is in the middle of a rebase: finish or abort it"
elif [ -d "$gitdir/rebase-apply" ]; then
    # An interrupted run of ours: git am changes the tree before it commits.
    if ! head_is_known || { [ ! -e "$running" ] && ! is_clean; }; then
        die "$name is in the middle of an am: finish or abort it"
    fi
    qgit -C "$dest" am --abort 2>/dev/null || rm -rf "$gitdir/rebase-apply"
    qgit -C "$dest" reset -q --hard
elif [ -n "$at" ] && { ! head_is_known || { ! is_clean && [ ! -e "$running" ]; }; }; then
    die "$name has changes that are not in patches/: ci/export.sh writes them, --force sets them aside"
fi
: >"$running"

start=$base first=0
if [ -n "$continue" ]; then
    first=$(cut -d' ' -f1 "$failed")
    start=$head
else
    while [ "$first" -lt "$total" ]; do
        known=$(journal_find "$start" "$(sha256_of "$ROOT/patches/${patches[first]}")")
        if [ -z "$known" ] || ! git -C "$SRC" cat-file -e "$known" 2>/dev/null; then
            break
        fi
        start=$known
        first=$((first + 1))
    done
    if [ "$(git -C "$dest" rev-parse -q --verify HEAD)" != "$start" ] || [ -n "$force" ]; then
        if [ "$dest" = "$SRC" ]; then
            qgit -C "$dest" checkout -q -f -B queue "$start"
        else
            qgit -C "$dest" checkout -q -f --detach "$start"
        fi
    fi
    printf '%s\n' "$start" >"$applied"
fi

stop_at() { # INDEX PATCH
    printf '%s %s %s\n' "$1" "$2" "$(git -C "$dest" rev-parse HEAD)" >"$failed"
    rm -f "$running"
    {
        qgit -C "$dest" apply --check "$ROOT/patches/$2" 2>&1 | grep '^error:' || true
        qgit -C "$dest" apply --reject "$ROOT/patches/$2" >/dev/null 2>&1 || true
        git -C "$dest" ls-files --others -- '*.rej' | sed -n 1,3p | while read -r rej; do
            printf -- '--- %s\n' "$rej"
            head -n 40 "$dest/$rej"
        done
    } >&2
    note "to go on: mend the files above in $name, remove the .rej," \
        "'git add -A && git am --continue' there, then ci/apply.sh --variant $variant --continue and ci/export.sh"
    die "$1/$total patches/$2 does not apply (base: v$QEMU_VERSION ${QEMU_COMMIT:0:12})"
}

[ "$first" = 0 ] || note "[$first/$total] as applied before"
parent=$start
for ((i = first; i < total; i++)); do
    patch=${patches[i]}
    qam "$dest" "$ROOT/patches/$patch" >/dev/null 2>"$gitdir/thrift-am.log" ||
        stop_at "$((i + 1))" "$patch"
    tip=$(git -C "$dest" rev-parse HEAD)
    journal_add "$parent" "$(sha256_of "$ROOT/patches/$patch")" "$tip"
    # What was mended stays unknown until it is exported.
    if [ -n "$continue" ]; then
        printf '%s %s -\n' "$((i + 1))" "$patch" >"$failed"
    else
        printf '%s\n' "$tip" >"$applied"
    fi
    parent=$tip
    note "[$((i + 1))/$total] $patch"
done

rm -f "$failed" "$running"

if [ "$variant" = patched ]; then
    touch "$gitdir/thrift-topics"
    while read -r topic; do
        series_topics | grep -qxF -- "$topic" ||
            git -C "$SRC" update-ref -d "refs/heads/topic/$topic"
    done <"$gitdir/thrift-topics"
    series_topics >"$gitdir/thrift-topics"
    for ((i = 0; i < total; i++)); do
        commit=$(git -C "$SRC" rev-parse "HEAD~$((total - 1 - i))")
        git -C "$SRC" update-ref "refs/heads/topic/${patches[i]%%/*}" "$commit"
    done
fi
tree=$(git -C "$dest" rev-parse 'HEAD^{tree}')
base_tree=$(git -C "$dest" rev-parse "$base^{tree}")
if [ "$variant" = patched ] && [ -z "$continue" ]; then
    want=$(sed -n 's/^# tip-tree: //p' "$ROOT/series")
    if [ "$base_tree" = "$(sed -n 's/^# base-tree: //p' "$ROOT/series")" ] &&
        [ "$tree" != "$want" ]; then
        die "the applied tree is ${tree:0:12}, series says ${want:0:12}: patches/ were changed by hand; look at the commits in build/src and run ci/export.sh"
    fi
fi
note "$variant: $total patches, tree ${tree:0:12}"
