#!/usr/bin/env bash
# Run ./configure-wrapper.sh in a minimal system of another Debian release.
set -euo pipefail
# shellcheck source=ci/lib/env.sh
. "$(dirname "$0")/lib/env.sh"

usage() {
    cat <<'EOF'
examples:
  ci/suite.sh trixie                         the lean build in Debian 13
  ci/suite.sh trixie --profile server        the server build
  ci/suite.sh trixie --as root               not as a user with sudo, too
  ci/suite.sh trixie --as root -- ci/package.sh
                                             and then this, in the same clone
  ci/suite.sh trixie --no-build -- ci/check --quick --only unit
                                             only this, in the clone as it is
  ci/suite.sh trixie --fresh                 in a system that is made anew

The system is made with debootstrap from the archive that this host's own apt
sources name, in build/suite-NAME, and used again until what ci/deps.sh
installs changes.  A clone of the last commit is built in it: in a chroot with
mounts, processes and /dev of its own, without /dev/kvm, as root from nothing,
then as an ordinary user who has sudo.  What ccache holds for that system is in
a folder of its own below this host's; packages and QEMU's sources are those
that were fetched before.  Takes root.

options:
  --profile server|lean  features (default: lean)
  --as root|user         only as this one (default: one after the other)
  --no-build             leave the clone as it is, but for what CMD does
  --fresh                make the system anew
  -- CMD...              run this, too, after the build

Exit status: 0 it works, 1 it does not, 2 wrong use, 77 it can't be run here.
EOF
}

# An id that is nobody's on the host.
USER_ID=61184
HERE=/srv/qemu-thrift

suite='' profile=lean who=(root user) fresh='' more=()
while [ $# -gt 0 ]; do
    case $1 in
    --help | -h)
        usage
        exit 0
        ;;
    --profile | --as)
        [ $# -gt 1 ] || usage_error "$1 needs a value"
        case $1 in
        --profile) profile=$2 ;;
        *) who=("$2") ;;
        esac
        shift
        ;;
    --fresh) fresh=1 ;;
    --no-build) who=() ;;
    --)
        shift
        more=("$@")
        break
        ;;
    -*) usage_error "unknown option '$1'" ;;
    *)
        [[ $1 =~ ^[a-z]+$ ]] || usage_error "'$1' is no suite"
        [ -z "$suite" ] || usage_error "one suite at a time, not '$1', too"
        suite=$1
        ;;
    esac
    shift
done
[ -n "$suite" ] || usage_error "which suite: trixie, bookworm, ..."
case $profile in server | lean) ;; *) usage_error "no profile '$profile': use server or lean" ;; esac
case ${who[0]:-root} in root | user) ;; *) usage_error "--as '${who[0]}': use root or user" ;; esac

skip() {
    note "skipped: $1"
    exit 77
}

[ "$(id -u)" = 0 ] || skip "a system of another release takes root"
command -v debootstrap >/dev/null || skip "no debootstrap: run ci/deps.sh --tests"
[ -e "/usr/share/debootstrap/scripts/$suite" ] || die "debootstrap knows no suite '$suite'" 2
unshare --mount --pid --fork chroot / true 2>/dev/null || skip "this host allows no chroot with mounts of its own"

dir=$BUILD/suite-$suite root=$BUILD/suite-$suite/root log=$BUILD/suite-$suite.log
mkdir -p "$dir/debs"
# There is sudo without a password in it.
chmod 700 "$dir"
exec 8>"$dir/lock"
flock -n 8 || die "another run works in build/suite-$suite: wait for it to end"
: >"$log"

# logged CMD...: its output to the log and to stderr
logged() {
    "$@" </dev/null 2>&1 | tee -a "$log" >&2
}

# quietly CMD...: its output to the log, and to stderr what matters of it if it
# fails
quietly() {
    local status=0
    "$@" >"$dir/said" 2>&1 || status=$?
    cat "$dir/said" >>"$log"
    [ "$status" = 0 ] || log_says "$dir/said"
    return $status
}

make_system() {
    local sources key why
    note "making a minimal system of $suite (log: build/suite-$suite.log)"
    need_space "$dir" 5000
    sources=$("$ROOT/ci/helpers/apt_private.py" deb "$suite" sources 2>&1) ||
        skip "${sources##*error: }"
    key=$(sed -n 's/^Signed-By: //p' <<<"$sources")
    rm -rf --one-file-system "$root" "$dir/key"
    mkdir "$root"
    if ! debootstrap --variant=minbase --include=ca-certificates,sudo --cache-dir="$dir/debs" \
        ${key:+"--keyring=$key"} "$suite" "$root" \
        "$(sed -n 's/^URIs: //p' <<<"$sources")" >>"$log" 2>&1; then
        why=$(grep -m1 '^E:' "$log" || tail -n 1 "$log")
        rm -rf --one-file-system "$root"
        # Neither the network nor what this host allows is at fault
        ! grep -qE 'unknown key|Invalid Release signature|No space left' "$log" ||
            die "debootstrap: $why (log: build/suite-$suite.log)"
        skip "debootstrap: $why (log: build/suite-$suite.log)"
    fi
    # No package starts a service.
    printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
    chmod +x "$root/usr/sbin/policy-rc.d"
    chroot "$root" useradd -m -s /bin/bash -u $USER_ID thrift >>"$log" 2>&1
    echo 'thrift ALL=(ALL) NOPASSWD: ALL' >"$root/etc/sudoers.d/thrift"
    mkdir -p "$root/srv/ccache" "$root/srv/distfiles"
    system_key >"$dir/key"
}

# What decides what the wrapper installs.
system_key() {
    { grep -E '^(base|server) ' "$ROOT/ci/packages" && cat "$ROOT/ci/deps.sh"; } | sha256sum
}

# mounts ROOT DEBS CCACHE DISTFILES: what programs expect of a system.  Gone
# with the namespace.
mounts() {
    local name
    mount -t proc proc "$1/proc"
    mount -t tmpfs -o mode=755 dev "$1/dev"
    for name in null zero full random urandom tty; do
        : >"$1/dev/$name"
        mount --bind "/dev/$name" "$1/dev/$name"
    done
    ln -s /proc/self/fd "$1/dev/fd"
    ln -s fd/0 "$1/dev/stdin"
    ln -s fd/1 "$1/dev/stdout"
    ln -s fd/2 "$1/dev/stderr"
    ln -s pts/ptmx "$1/dev/ptmx"
    mkdir "$1/dev/pts" "$1/dev/shm"
    mount -t devpts -o newinstance,ptmxmode=0666 devpts "$1/dev/pts"
    mount -t tmpfs -o mode=1777 shm "$1/dev/shm"
    for name in resolv.conf hosts; do
        : >>"$1/etc/$name"
        mount --bind "$(realpath "/etc/$name")" "$1/etc/$name"
    done
    mount --bind "$2" "$1/var/cache/apt/archives"
    mount --bind "$3" "$1/srv/ccache"
    [ -z "$4" ] || mount --bind -o ro "$4" "$1/srv/distfiles"
}
export -f mounts

# inside ID CMD...: CMD as that user in the clone; all of it ends with it.
inside() {
    local id=$1 name env=(LANG=C.UTF-8 "PATH=/usr/sbin:/usr/bin:/sbin:/bin"
        CCACHE_DIR=/srv/ccache HOME=/root)
    shift
    [ "$id" = 0 ] || env+=(HOME=/home/thrift USER=thrift)
    [ -z "$distfiles" ] || env+=(THRIFT_DISTFILES=/srv/distfiles)
    for name in http_proxy https_proxy no_proxy; do
        [ -z "${!name:-}" ] || env+=("$name=${!name}")
    done
    # shellcheck disable=SC2016 # expanded there
    unshare --mount --pid --fork --kill-child --propagation private bash -ec '
        mounts "$1" "$2" "$3" "$4"
        shift 4
        exec "$@"' bash "$root" "$dir/debs" "$ccache" "$distfiles" \
        chroot --userspec="$id:$id" "$root" env -i "${env[@]}" \
        sh -c "cd $HERE && exec \"\$@\"" sh "$@" 8>&-
}

# Part of what is needed is missing each time, so that it has to be installed.
forget_packages() {
    if [ -x "$root/usr/bin/meson" ]; then
        quietly inside 0 apt-get -q -y purge meson flex
    fi
}

clone() {
    rm -rf --one-file-system "$root$HERE"
    quietly git -c safe.directory='*' clone -q "file://$ROOT" "$root$HERE"
}

# What these two say is used, so a failed command does not end them by itself.
as_root() {
    clone && forget_packages &&
        logged inside 0 ./configure-wrapper.sh --profile "$profile"
}

# In the clone with the applied queue, if there is one; it's built anew.
as_user() {
    local foreign
    [ -d "$root$HERE" ] || clone || return
    rm -rf "$root$HERE"/build/{patched,patched.d,apt,deps.log} &&
        forget_packages &&
        chown -R $USER_ID:$USER_ID "$root$HERE" "$ccache" &&
        logged inside $USER_ID ./configure-wrapper.sh --profile "$profile" || return
    foreign=$(find "$root$HERE" ! -uid $USER_ID | head -n 1)
    [ -z "$foreign" ] || {
        note "the user does not own ${foreign#"$root"}"
        return 1
    }
}

if [ -n "$fresh" ] || [ "$(cat "$dir/key" 2>/dev/null)" != "$(system_key)" ]; then
    make_system
fi
[ -z "$(git -c safe.directory='*' -C "$ROOT" status --porcelain --ignore-submodules)" ] ||
    note "what is not committed is not in the clone that is built"
ccache=$(ccache --get-config cache_dir 2>/dev/null || echo "$dir/ccache")/suite-$suite
mkdir -p "$ccache"
distfiles=
for place in "${THRIFT_DISTFILES:-}" "$BUILD/distfiles"; do
    if [ -z "$distfiles" ] && [ -f "$place/$QEMU_TARBALL" ]; then
        distfiles=$place
    fi
done
# shellcheck source=/dev/null
release=$(. "$root/etc/os-release" && echo "$PRETTY_NAME")
for name in "${who[@]}"; do
    began=$SECONDS
    note "$release, $profile, as $name"
    "as_$name" || die "it does not work in $release as $name (log: build/suite-$suite.log)"
    note "passed: $release, $profile, as $name, in $((SECONDS - began)) s"
done
if [ ${#more[@]} -gt 0 ]; then
    [ -d "$root$HERE" ] || clone || die "no clone could be made (log: build/suite-$suite.log)"
    note "${more[*]}"
    chown -R 0:0 "$root$HERE"
    logged inside 0 "${more[@]}" || die "${more[*]} failed in $release (log: build/suite-$suite.log)"
fi
