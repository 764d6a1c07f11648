#!/usr/bin/env bash
# Apply the queue to the base with git am: build/src, or a tree of its own.
set -euo pipefail
# shellcheck source=ci/env.sh
. "$(dirname "$0")/env.sh"

usage() {
    cat <<'EOF'
examples:
  ci/apply.sh                        the whole queue, in build/src
  ci/apply.sh --variant pristine     the base alone, in build/pristine.d/src
  ci/apply.sh --variant topic-NAME   up to and including topic NAME

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
        variant=${2:?--variant needs a value}
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
base=$(git -C "$SRC" rev-parse -q --verify refs/thrift/base) ||
    die "there is no base yet: run ci/base.sh"
lock_build

if [ ! -e "$dest/.git" ]; then
    mkdir -p "${dest%/src}"
    git -C "$SRC" worktree prune
    qgit -C "$SRC" worktree add -q --no-checkout --detach "$dest" "$base"
    qgit -C "$dest" reset -q --hard
fi
gitdir=$(git -C "$dest" rev-parse --absolute-git-dir)
applied=$gitdir/thrift-applied
failed=$gitdir/thrift-failed

save_what_is_there() {
    local ref tip
    ref=refs/thrift/saved/$(date -u +%Y%m%dT%H%M%SZ)
    rm -rf "$gitdir/rebase-apply"
    git -C "$dest" add -A
    tip=$(qgit -C "$dest" stash create 2>/dev/null || true)
    git -C "$dest" update-ref "$ref" "${tip:-HEAD}"
    note "saved what was there as $ref"
}

if git -C "$dest" rev-parse -q --verify HEAD >/dev/null; then
    if [ -e "$failed" ] && [ -z "$force" ]; then
        [ ! -d "$gitdir/rebase-apply" ] ||
            die "$(cut -d' ' -f2 "$failed") waits to be mended in ${dest#"$ROOT"/}: finish it with 'git am --continue', or start over with --force"
        [ -n "$continue" ] ||
            die "the run stopped at $(cut -d' ' -f2 "$failed"): go on with --continue, or start over with --force"
    elif [ -d "$gitdir/rebase-apply" ] && [ -z "$force" ]; then
        # An interrupted run of ours: git am changes the tree before it commits.
        qgit -C "$dest" am --abort 2>/dev/null || rm -rf "$gitdir/rebase-apply"
        qgit -C "$dest" reset -q --hard
    elif [ -e "$applied" ]; then
        if [ "$(git -C "$dest" rev-parse HEAD)" != "$(cat "$applied")" ] ||
            [ -n "$(git -C "$dest" status --porcelain --untracked-files=no)" ]; then
            [ -n "$force" ] ||
                die "${dest#"$ROOT"/} has changes that are not in patches/: ci/export.sh writes them, --force sets them aside"
            save_what_is_there
        fi
    elif [ -n "$force" ]; then
        save_what_is_there
    fi
fi

start=$base first=0
if [ -n "$continue" ]; then
    [ -e "$failed" ] || die "there is nothing to continue: run ci/apply.sh"
    first=$(cut -d' ' -f1 "$failed")
    start=$(git -C "$dest" rev-parse HEAD)
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
fi
rm -f "$failed"
printf '%s\n' "$start" >"$applied"

stop_at() { # INDEX PATCH
    printf '%s %s\n' "$1" "$2" >"$failed"
    {
        qgit -C "$dest" apply --check "$ROOT/patches/$2" 2>&1 | grep '^error:' || true
        qgit -C "$dest" apply --reject "$ROOT/patches/$2" >/dev/null 2>&1 || true
        git -C "$dest" ls-files --others -- '*.rej' | head -n 3 | while read -r rej; do
            printf -- '--- %s\n' "$rej"
            head -n 40 "$dest/$rej"
        done
    } >&2
    note "to go on: mend the files above in ${dest#"$ROOT"/}, remove the .rej," \
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
    printf '%s\n' "$tip" >"$applied"
    parent=$tip
    note "[$((i + 1))/$total] $patch"
done

tree=$(git -C "$dest" rev-parse 'HEAD^{tree}')
base_tree=$(git -C "$dest" rev-parse "$base^{tree}")
if [ "$variant" = patched ] && [ -z "$continue" ]; then
    want=$(sed -n 's/^# tip-tree: //p' "$ROOT/series")
    if [ "$base_tree" = "$(sed -n 's/^# base-tree: //p' "$ROOT/series")" ] &&
        [ "$tree" != "$want" ]; then
        die "the applied tree is ${tree:0:12}, series says ${want:0:12}: patches/ were changed by hand; edit commits in build/src and run ci/export.sh"
    fi
fi
if [ "$variant" = patched ]; then
    at=$base
    for ((i = 0; i < total; i++)); do
        at=$(git -C "$SRC" rev-parse "queue~$((total - 1 - i))")
        git -C "$SRC" update-ref "refs/heads/topic/${patches[i]%%/*}" "$at"
    done
fi
note "$variant: $total patches, tree ${tree:0:12}"
