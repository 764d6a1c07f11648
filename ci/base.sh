#!/usr/bin/env bash
# Get QEMU's sources at the pin, verify them, and make the base commit that
# the queue applies to: refs/thrift/base in build/src.
set -euo pipefail
# shellcheck source=ci/lib/env.sh
. "$(dirname "$0")/lib/env.sh"

usage() {
    cat <<EOF
examples:
  ci/base.sh                        first of the sources below that is there
  ci/base.sh --tarball ~/$QEMU_TARBALL
  ci/base.sh --distfiles /srv/distfiles

Sources, in this order, each verified before use:
  upstream/      the submodule, if it is checked out at the pin
  tarball        $QEMU_TARBALL (Debian's) or
                 $QEMU_RELEASE_TARBALL (from https://download.qemu.org) by --tarball,
                 --distfiles or THRIFT_DISTFILES; else Debian's, fetched with apt
  submodule      git submodule update --init --depth 1 upstream

options:
  --tarball FILE    use this tarball
  --distfiles DIR   look for the tarball here
  --dry-run         say what would be taken, do nothing

Exit status: 0 the base is there, 1 no source could be used, 2 wrong use.
EOF
}

tarball='' distfiles=${THRIFT_DISTFILES:-} dry=
while [ $# -gt 0 ]; do
    case $1 in
    --help | -h)
        usage
        exit 0
        ;;
    --tarball | --distfiles)
        [ $# -gt 1 ] || usage_error "$1 needs a value"
        [ "$1" = --tarball ] && tarball=$2 || distfiles=$2
        shift
        ;;
    --dry-run) dry=1 ;;
    *) usage_error "unknown option '$1'" ;;
    esac
    shift
done
need_cmd git git
[ -z "$tarball" ] || [ -f "$tarball" ] ||
    die "--tarball $tarball: no such file" 2
[ -z "$distfiles" ] || [ -d "$distfiles" ] ||
    die "distfiles folder $distfiles: no such folder (--distfiles, THRIFT_DISTFILES)" 2

# whose FILE: says 'debian' or 'release', or fails if it is neither tarball.
whose() {
    case $(sha256sum <"$1" | cut -d' ' -f1) in
    "$QEMU_TARBALL_SHA256") echo debian ;;
    "$QEMU_RELEASE_SHA256") echo release ;;
    *) return 1 ;;
    esac
}

pinned_name() { # debian|release
    if [ "$1" = debian ]; then
        echo "$QEMU_TARBALL"
    else
        echo "$QEMU_RELEASE_TARBALL"
    fi
}

# What the base is made from; the same key means nothing is to be done.
tarball_key() { # debian|release
    {
        echo "$1"
        find "$ROOT/ci/pins" "$ROOT/ci/tarball-fixups" -name '*.patch' -o -name pins |
            LC_ALL=C sort | tr '\n' '\0' | xargs -0 cat
    } | sha256sum | cut -d' ' -f1
}

have_base() { # KEY
    [ "$(cat "$SRC/.git/thrift-base-key" 2>/dev/null)" = "$1" ] &&
        git -C "$SRC" rev-parse -q --verify refs/thrift/base >/dev/null
}

init_repo() {
    lock_build
    need_space "$BUILD" 3000
    [ -d "$SRC/.git" ] && return
    [ ! -e "$SRC" ] || die "build/src is there but is no git repository: move it away"
    qgit init -q --object-format=sha1 --template= -b queue "$SRC"
    # Topic branches follow when commits are edited below them.
    qgit -C "$SRC" config rebase.updateRefs true
    qgit -C "$SRC" config gc.auto 0
}

set_base() { # COMMIT KEY
    qgit -C "$SRC" update-ref refs/thrift/base "$1"
    printf '%s\n' "$2" >"$SRC/.git/thrift-base-key"
    note "base: $(qgit -C "$SRC" rev-parse --short=12 "$1")," \
        "tree $(qgit -C "$SRC" rev-parse --short=12 "$1^{tree}")"
}

# upstream/ as a repository of its own (an empty folder belongs to ours).
upstream_is_there() {
    [ "$(git -C "$ROOT/upstream" rev-parse --show-toplevel 2>/dev/null)" = "$ROOT/upstream" ]
}

from_upstream() {
    local head
    head=$(git -C "$ROOT/upstream" rev-parse HEAD 2>/dev/null || echo nothing)
    [ "$head" = "$QEMU_COMMIT" ] ||
        die "upstream/ is at ${head:0:12}, the pin is ${QEMU_COMMIT:0:12}: run 'git submodule update --init --depth 1 upstream'"
    [ -z "$(git -C "$ROOT/upstream" status --porcelain)" ] ||
        die "upstream/ has changes of its own: save them elsewhere, then 'git -C upstream reset --hard && git -C upstream clean -fdx'"
    note "source: upstream/ at v$QEMU_VERSION ${QEMU_COMMIT:0:12}"
    if [ -n "$dry" ] || have_base "$QEMU_COMMIT"; then
        return
    fi
    init_repo
    qgit -C "$SRC" fetch -q --no-tags --depth 1 "file://$ROOT/upstream" HEAD
    set_base "$QEMU_COMMIT" "$QEMU_COMMIT"
}

fetch_tarball() {
    local dir=$BUILD/distfiles out
    lock_build
    mkdir -p "$dir"
    if [ -f "$dir/$QEMU_TARBALL" ]; then
        tarball=$dir/$QEMU_TARBALL
        return
    fi
    command -v apt-get >/dev/null || {
        note "source: no tarball (no --tarball, no distfiles folder, no apt-get)"
        return 1
    }
    note "fetching Debian's source package qemu $QEMU_DEBIAN_SOURCE"
    rm -rf "$dir/untrusted"
    mkdir "$dir/untrusted"
    if out=$(cd "$dir/untrusted" && "$ROOT/ci/helpers/apt_private.py" deb-src sid \
        apt-get -q source --download-only "qemu=$QEMU_DEBIAN_SOURCE" 2>&1) &&
        [ -f "$dir/untrusted/$QEMU_TARBALL" ]; then
        [ "$(whose "$dir/untrusted/$QEMU_TARBALL")" = debian ] ||
            die "the fetched $QEMU_TARBALL has a wrong sha256: left in build/distfiles/untrusted, not used"
        mv "$dir/untrusted/$QEMU_TARBALL" "$dir/$QEMU_TARBALL"
        rm -rf "$dir/untrusted"
        tarball=$dir/$QEMU_TARBALL
    else
        note "source: no tarball from apt: $(grep -m1 -E '^E:|error:' <<<"$out" || echo "no $QEMU_TARBALL in it")"
        return 1
    fi
}

find_tarball() {
    [ -z "$tarball" ] || return 0
    local name
    for name in ${distfiles:+"$QEMU_TARBALL" "$QEMU_RELEASE_TARBALL"}; do
        if [ -f "$distfiles/$name" ]; then
            tarball=$distfiles/$name
            return
        fi
    done
    [ -z "$distfiles" ] ||
        note "source: neither $QEMU_TARBALL nor $QEMU_RELEASE_TARBALL is in $distfiles"
    if [ -n "$dry" ]; then
        note "source: would fetch Debian's source package qemu $QEMU_DEBIAN_SOURCE"
        exit 0
    fi
    fetch_tarball
}

tmp=
from_tarball() {
    local key commit fixup kind
    kind=$(whose "$tarball") ||
        die "$tarball is neither $QEMU_TARBALL nor $QEMU_RELEASE_TARBALL (wrong sha256): get it again, or leave out --tarball to have it fetched"
    note "source: $tarball (sha256 as pinned)"
    key=$(tarball_key "$kind")
    if [ -n "$dry" ] || have_base "$key"; then
        return
    fi
    init_repo
    tmp=$(mktemp -d "$BUILD/base.XXXXXX")
    trap 'rm -rf "$tmp"; git -C "$SRC" worktree prune' EXIT
    note "unpacking, and making the base commit"
    commit=$(import_tarball "$tarball" "$tmp" "QEMU v$QEMU_VERSION, from $(pinned_name "$kind")")
    light_worktree "$tmp/work" "$commit"
    for fixup in "$ROOT"/ci/tarball-fixups/*.patch; do
        # They do without what Debian has taken out.
        if [ "$kind" != debian ] || [ ! -e "$fixup" ]; then
            continue
        fi
        qgit -C "$tmp/work" am -q --no-3way --no-signoff --no-scissors --no-gpg-sign "$fixup" ||
            die "tarball fix-up ${fixup##*/} does not apply to $QEMU_TARBALL"
    done
    commit=$(qgit -C "$tmp/work" rev-parse HEAD)
    rm -rf "$tmp/work"
    qgit -C "$SRC" worktree prune
    set_base "$commit" "$key"
}

if [ -n "$tarball" ]; then
    note "source: not upstream/, because --tarball was given"
elif upstream_is_there; then
    from_upstream
    exit 0
else
    note "source: not upstream/, it is not checked out"
fi
for kind in debian release; do
    if have_base "$(tarball_key $kind)" && [ -z "$tarball" ]; then
        note "base: as made before from $(pinned_name $kind)"
        exit 0
    fi
done
if find_tarball; then
    from_tarball
    exit 0
fi
note "trying git submodule update --init --depth 1 upstream"
if (cd "$ROOT" && timeout 1800 git submodule -q update --init --depth 1 upstream) >&2; then
    from_upstream
    exit 0
fi
die "no source for QEMU v$QEMU_VERSION: pass --tarball FILE with $QEMU_TARBALL or https://download.qemu.org/$QEMU_RELEASE_TARBALL, or get the network and run again"
