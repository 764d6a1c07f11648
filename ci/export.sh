#!/usr/bin/env bash
# Write the commits of build/src back to patches/ and series.
set -euo pipefail
# shellcheck source=ci/lib/env.sh
. "$(dirname "$0")/lib/env.sh"

usage() {
    cat <<'EOF'
examples:
  cd build/src && git rebase -i refs/thrift/base   edit the queue as commits
  ci/export.sh                                     write it back
  ci/export.sh --check                             is patches/ up to date?

A topic ends at its branch topic/NAME in build/src; commits after the last
one belong to the last topic.  A new topic: git -C build/src branch topic/NAME
at its last commit.  patches/TOPIC/needs names the topics that a topic needs, one
a line; it is empty where the base is enough, and without it a topic needs all
those before it.  Before anything in patches/ is replaced the new patches
are applied to the base again: same tree, same bytes, or nothing is written.

options:
  --check   write nothing, fail if patches/ would change

Exit status: 0 written (or up to date), 1 refused, 2 wrong use.
EOF
}

check=
[ $# -le 1 ] || usage_error "unknown option '${2}'"
case ${1:-} in
'') ;;
--check) check=1 ;;
--help | -h)
    usage
    exit 0
    ;;
*) usage_error "unknown option '$1'" ;;
esac

base=$(git -C "$SRC" rev-parse -q --verify refs/thrift/base 2>/dev/null) ||
    die "there is no build/src: run ci/base.sh and ci/apply.sh"
lock_build
if [ -d "$SRC/.git/rebase-apply" ] || [ -d "$SRC/.git/rebase-merge" ]; then
    die "build/src is in the middle of a rebase or am: finish or abort it"
fi
[ -z "$(git -C "$SRC" status --porcelain --untracked-files=no)" ] ||
    die "build/src has changes that are not committed: commit or stash them"
head=$(git -C "$SRC" rev-parse -q --verify HEAD) ||
    die "the queue is not applied: run ci/apply.sh"
[ ! -e "$SRC/.git/thrift-failed" ] ||
    die "the run stopped at $(cut -d' ' -f2 "$SRC/.git/thrift-failed"): end it with ci/apply.sh --continue or --force"
git -C "$SRC" merge-base --is-ancestor "$base" "$head" ||
    die "build/src HEAD is not built on the base: rebase it onto refs/thrift/base"
[ -z "$(git -C "$SRC" rev-list --merges "$base..$head")" ] ||
    die "build/src has merge commits: a queue is a line, rebase it"

# Topics from the base upwards; each has to contain the one before.
mapfile -t topics < <(git -C "$SRC" for-each-ref --format='%(refname:lstrip=3)' refs/heads/topic/ |
    while read -r topic; do
        printf '%s %s\n' "$(git -C "$SRC" rev-list --count "$base..topic/$topic")" "$topic"
    done | sort -n | cut -d' ' -f2)
if [ ${#topics[@]} = 0 ] && [ "$head" != "$base" ]; then
    die "build/src has commits but no topic: git -C build/src branch topic/NAME"
fi

work=$(mktemp -d "$BUILD/export.XXXXXX")
cleanup() {
    rm -rf "$work"
    git -C "$SRC" worktree prune
}
trap cleanup EXIT
mkdir "$work/patches"

from=$base
last=$((${#topics[@]} - 1))
for i in "${!topics[@]}"; do
    topic=${topics[i]}
    to=$(git -C "$SRC" rev-parse "topic/$topic")
    if ! git -C "$SRC" merge-base --is-ancestor "$from" "$to" ||
        ! git -C "$SRC" merge-base --is-ancestor "$to" "$head"; then
        die "topic/$topic is not on the line to HEAD: rebase with --update-refs, or move it with git branch -f"
    fi
    [ "$i" != "$last" ] || to=$head
    [ "$from" != "$to" ] || die "topic/$topic has no commits: delete the branch"
    format_patches "$SRC" "$work/patches/$topic" "$from..$to"
    from=$to
done

# patches/TOPIC/needs: topics that this one needs, one a line.
write_needs() { # TOPIC
    local file=$ROOT/patches/$1/needs names
    [ -f "$file" ] || return 0
    names=$(sed -e 's/#.*//' "$file" | xargs)
    echo "# needs: ${names:-none}"
}

write_series() {
    echo "# The queue in quilt order, written by ci/export.sh; edit commits, not this."
    echo "# base: v$QEMU_VERSION $QEMU_COMMIT"
    echo "# base-tree: $(git -C "$SRC" rev-parse "$base^{tree}")"
    echo "# tip-tree: $(git -C "$SRC" rev-parse "$head^{tree}")"
    for topic in "${topics[@]}"; do
        echo "# topic: $topic"
        write_needs "$topic"
        (cd "$work/patches" && printf '%s\n' "$topic"/*.patch)
    done
}
write_series >"$work/series"

# Round trip: what was written gives the same tree and the same bytes again.
light_worktree "$work/tree" "$base"
parent=$base total=$(grep -vc '^#' "$work/series" || true) n=0
: >"$work/journal"
mapfile -t commits < <(git -C "$SRC" rev-list --reverse "$base..$head")
while read -r patch; do
    qam "$work/tree" "$work/patches/$patch" >/dev/null 2>&1 ||
        die "round trip: $patch does not apply again: is its commit empty or its message odd?"
    mkdir -p "$work/again/${patch%/*}"
    format_patches "$work/tree" "$work/again/${patch%/*}" -1 \
        --start-number "$((10#$(basename "$patch" | cut -c1-4)))"
    cmp -s "$work/patches/$patch" "$work/again/$patch" ||
        die "round trip: $patch changes when it is applied and written again"
    echo "$parent $(sha256_of "$work/patches/$patch") ${commits[n]}" >>"$work/journal"
    parent=${commits[n]}
    n=$((n + 1))
    note "[$n/$total] $patch"
done < <(grep -v '^#' "$work/series")
[ "$(git -C "$work/tree" rev-parse 'HEAD^{tree}')" = "$(git -C "$SRC" rev-parse "$head^{tree}")" ] ||
    die "round trip: the written patches give another tree than build/src"

same=1
# The trees of another base than the one that series was written from differ.
said() { # SERIES
    if [ "$(grep '^# base-tree:' "$ROOT/series")" = "$(grep '^# base-tree:' "$work/series")" ]; then
        cat "$1"
    else
        grep -v '^# [a-z]*-tree:' "$1" || true
    fi
}
[ "$(said "$work/series")" = "$(said "$ROOT/series")" ] || same=
diff -rq -x cover.txt -x needs -x tests -x private -x STATUS.rst "$work/patches" "$ROOT/patches" >/dev/null 2>&1 || same=
if [ -n "$check" ]; then
    [ -n "$same" ] || die "patches/ is not what build/src holds: run ci/export.sh"
    exit 0
fi
if [ -z "$same" ]; then
    mkdir -p "$ROOT/patches"
    for topic in "${topics[@]}"; do
        mkdir -p "$ROOT/patches/$topic"
        cp "$work/patches/$topic"/*.patch "$ROOT/patches/$topic/"
    done
    (cd "$ROOT/patches" && find . -name '*.patch') | while read -r patch; do
        [ -e "$work/patches/$patch" ] || rm "$ROOT/patches/$patch"
    done
    find "$ROOT/patches" -mindepth 1 -type d -empty -delete
    cp "$work/series" "$ROOT/series"
fi
[ ${#topics[@]} = 0 ] || git -C "$SRC" update-ref "refs/heads/topic/${topics[last]}" "$head"
cat "$work/journal" >>"$SRC/.git/thrift-journal"
printf '%s\n' "$head" >"$SRC/.git/thrift-applied"
printf '%s\n' "${topics[@]}" >"$SRC/.git/thrift-topics"
note "$total patches, topics: ${topics[*]}$([ -n "$same" ] && echo ', nothing changed')"
