#!/usr/bin/env bash
# Put the queue on another base and show patch by patch how that goes.
set -euo pipefail
# shellcheck source=ci/env.sh
. "$(dirname "$0")/env.sh"

usage() {
    cat <<'EOF'
examples:
  ci/rebase.sh --repo ~/qemu --onto origin/master    a clone of QEMU's git
  ci/rebase.sh --tarball qemu-11.1.0.tar.xz
  ci/rebase.sh --debian trixie                       Debian's source of a suite
  ci/rebase.sh --tarball FILE --topic dirty-map      only what this topic needs

Each patch is tried with git am --3way.  One that conflicts is shown, with the
files and the first conflict, and left out; the next is tried on top of what
did apply.  The result is branch rebase/NAME in build/src, followed by the
range-diff against the queue as it is; patches/ stays untouched.

options:
  --repo DIR --onto REF   a commit of a QEMU clone
  --tarball FILE          a QEMU source tarball
  --debian SUITE          Debian's qemu source of that suite, fetched with apt
  --topic T               topic T and the topics it needs
  --show N                lines shown of each conflict (default: 20)

Exit status: 0 every patch applies, 1 some conflict, 2 wrong use.
EOF
}

repo='' onto='' tarball='' debian='' topic='' show=20
while [ $# -gt 0 ]; do
    case $1 in
    --help | -h)
        usage
        exit 0
        ;;
    --repo | --onto | --tarball | --debian | --topic | --show)
        [ $# -gt 1 ] || usage_error "$1 needs a value"
        declare "${1#--}=$2"
        shift
        ;;
    *) usage_error "unknown option '$1'" ;;
    esac
    shift
done
[ -z "$topic" ] || check_topic "$topic"
[ -n "$repo$tarball$debian" ] || usage_error "rebase onto what: --repo, --tarball or --debian"
[ -z "$repo" ] || [ -n "$onto" ] || usage_error "--repo needs --onto REF"
[[ $show =~ ^[1-9][0-9]*$ ]] || usage_error "--show '$show' is no number"
[ ! -d "$repo" ] || repo=$(cd "$repo" && pwd)
[ -z "$tarball" ] || [ -f "$tarball" ] || die "--tarball $tarball: no such file" 2
base=$(git -C "$SRC" rev-parse -q --verify refs/thrift/base 2>/dev/null) ||
    die "there is no build/src: run ./configure-wrapper.sh first"
to=refs/heads/queue
[ -z "$topic" ] || to=refs/heads/topic/$topic
git -C "$SRC" rev-parse -q --verify "$to" >/dev/null ||
    die "the queue is not applied: run ci/apply.sh"
lock_build
need_space "$BUILD" 2000
work=$(mktemp -d "$BUILD/rebase.XXXXXX")
cleanup() {
    rm -rf "$work"
    git -C "$SRC" worktree prune
}
trap cleanup EXIT

if [ -n "$debian" ]; then
    note "fetching Debian's qemu source of $debian"
    mkdir "$work/deb"
    (cd "$work/deb" && "$ROOT/ci/apt_private.py" deb-src "$debian" \
        apt-get -q source --download-only "qemu/$debian") >"$work/log" 2>&1 ||
        die "Debian's source of $debian was not got: $(grep -m1 -E '^E:|error:' "$work/log")"
    tarball=$(echo "$work"/deb/qemu_*.orig.tar.xz)
fi
if [ -n "$tarball" ]; then
    name=$(basename "$tarball" | sed -E -e 's/\.(orig\.)?tar\..*//' -e 's/[^A-Za-z0-9._+-]+/-/g')
    note "importing $(basename "$tarball")"
    target=$(import_tarball "$tarball" "$work" "$name")
else
    name=$(basename "$onto")
    qgit -C "$SRC" fetch -q --no-tags "$repo" "$onto" 2>"$work/log" ||
        die "$repo has no $onto: $(head -n 1 "$work/log")"
    target=$(git -C "$SRC" rev-parse FETCH_HEAD)
fi

there=$(git -C "$SRC" for-each-ref --format='%(worktreepath)' "refs/heads/rebase/$name")
[ -z "$there" ] || die "branch rebase/$name is checked out in $there: remove that work tree first"
tree=$work/tree
# A whole work tree: 3-way merges want the files.
qgit -C "$SRC" worktree add -q --detach "$tree" "$target"
# Fix-ups of the tarball base are no business of another base.
mapfile -t patches < <(series_patches ${topic:+"$topic"})
total=${#patches[@]} i=0 conflicts=0
for patch in "${patches[@]}"; do
    i=$((i + 1))
    if qgit -C "$tree" am -q --keep-cr --3way --no-gpg-sign --no-signoff --no-scissors \
        "$ROOT/patches/$patch" >"$work/log" 2>&1; then
        how=applies
        ! grep -q 'Falling back' "$work/log" || how='applies after a 3-way merge'
        echo "[$i/$total] $patch: $how"
        continue
    fi
    conflicts=$((conflicts + 1))
    echo "[$i/$total] $patch: CONFLICT"
    sed -n 's/^CONFLICT/    CONFLICT/p; s/^error: /    /p' "$work/log"
    git -C "$tree" diff --diff-filter=U 2>/dev/null | sed -n "1,${show}s/^/    /p"
    qgit -C "$tree" am --abort
done
git -C "$SRC" branch -q -f "rebase/$name" "$(git -C "$tree" rev-parse HEAD)"
echo "range-diff of the queue against rebase/$name:"
git -C "$SRC" range-diff -s --creation-factor=95 "$base..$to" \
    "$target..rebase/$name" | sed 's/^/    /'
note "branch rebase/$name in build/src: $((total - conflicts)) of $total patches"
if [ "$conflicts" != 0 ]; then
    note "to mend one: git -C build/src worktree add ../rebase rebase/$name, git am -3 the patch there"
    die "$conflicts of $total patches conflict with $name"
fi
