#!/usr/bin/env bash
# Install what the build and the tests need.  As root, or with sudo.
set -euo pipefail
# shellcheck source=ci/env.sh
. "$(dirname "$0")/env.sh"

MESON_WANTED=1.5.0

usage() {
    cat <<'EOF'
examples:
  ci/deps.sh                      what a server build needs
  ci/deps.sh --profile lean       the quick build
  ci/deps.sh --tests              also what ci/check needs
  ci/deps.sh --bench              also what ci/bench needs
  ci/deps.sh --hosts              also what ci/hosts.sh needs
  ci/deps.sh --print              only name the missing packages

options:
  --profile server|lean   features to build with (default: server)
  --tests                 add the packages of the tests
  --bench                 add the packages of the benches
  --hosts                 add the packages of tests for other hosts
  --print                 print what is missing, install nothing

Exit status: 0 all there (or installed), 1 something is missing, 2 wrong use.
EOF
}

profile=server groups='base' print=
while [ $# -gt 0 ]; do
    case $1 in
    --help | -h)
        usage
        exit 0
        ;;
    --profile)
        [ $# -gt 1 ] || usage_error "$1 needs a value"
        profile=$2
        shift
        ;;
    --tests) groups+=' test' ;;
    --bench) groups+=' bench' ;;
    --hosts) groups+=' hosts' ;;
    --print) print=1 ;;
    *) usage_error "unknown option '$1'" ;;
    esac
    shift
done
case $profile in
lean) ;;
server) groups+=' server' ;;
*) usage_error "no profile '$profile': use server or lean" ;;
esac
command -v apt-get >/dev/null ||
    die "no apt-get here: on another system install the packages that ci/packages names, then pass --no-deps"

wanted() {
    local group
    for group in $groups; do
        sed -n "s/^$group //p" "$ROOT/ci/packages"
    done | tr ' ' '\n' | sort -u
}

missing() {
    local have
    have=$(dpkg-query -W -f='${db:Status-Status} ${Package}\n' 2>/dev/null |
        sed -n 's/^installed //p' | sort -u)
    comm -23 <(wanted) <(printf '%s\n' "$have")
}

meson_is_new_enough() {
    local have
    have=$(/usr/bin/python3 -c 'import importlib.metadata as m
print(m.version("meson"))' 2>/dev/null) &&
        dpkg --compare-versions "$have" ge "$MESON_WANTED"
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    else
        sudo "$@"
    fi
}

mapfile -t lack < <(missing)
if [ -n "$print" ]; then
    [ ${#lack[@]} = 0 ] || printf '%s\n' "${lack[@]}"
    meson_is_new_enough || echo "meson (>= $MESON_WANTED)"
    exit 0
fi
if [ ${#lack[@]} = 0 ] && meson_is_new_enough; then
    exit 0
fi
if [ "$(id -u)" != 0 ] && ! sudo -n true 2>/dev/null && ! { [ -t 0 ] && command -v sudo >/dev/null; }; then
    die "${#lack[@]} packages are missing and this is not root: have root run '$ROOT/ci/deps.sh --profile $profile${groups:+$([[ $groups == *test* ]] && echo ' --tests')}'"
fi
export DEBIAN_FRONTEND=noninteractive
if [ ${#lack[@]} -gt 0 ]; then
    note "installing ${#lack[@]} packages"
    mkdir -p "$BUILD"
    if ! {
        as_root apt-get -q update &&
            as_root apt-get -q -y -o Dpkg::Use-Pty=0 install --no-install-recommends "${lack[@]}"
    } >"$BUILD/deps.log" 2>&1; then
        grep -E '^E:' "$BUILD/deps.log" >&2 || tail -n 5 "$BUILD/deps.log" >&2
        die "apt-get could not install them (log: build/deps.log): check the network and the host's apt sources"
    fi
fi
if ! meson_is_new_enough; then
    suite=$(. /etc/os-release && echo "$VERSION_CODENAME")-backports
    note "installing meson from $suite (QEMU wants >= $MESON_WANTED)"
    as_root "$ROOT/ci/apt_private.py" deb "$suite" apt-get -q -y -o Dpkg::Use-Pty=0 \
        install --no-install-recommends -t "$suite" meson >>"$BUILD/deps.log" 2>&1 ||
        die "meson could not be installed from $suite (log: build/deps.log)"
    meson_is_new_enough || die "meson is still older than $MESON_WANTED: see build/deps.log"
fi
