#!/usr/bin/env bash
# Install what the build and the tests need.  As root, or with sudo.
set -euo pipefail
# shellcheck source=ci/lib/env.sh
. "$(dirname "$0")/lib/env.sh"

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

called="$ROOT/ci/deps.sh${*:+ $*}" profile=server groups='base' print=
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
wanted() {
    local group
    for group in $groups; do
        sed -n "s/^$group //p" "$ROOT/ci/packages"
    done | tr ' ' '\n' | sort -u
}

# Another system has the same things under names of its own.
if ! command -v apt-get >/dev/null; then
    if [ -n "$print" ]; then
        wanted
        echo "meson (>= $MESON_WANTED)"
        exit 0
    fi
    die "no apt-get here: install what is in these Debian packages, meson $MESON_WANTED or newer, and pass --no-deps: $(wanted | paste -sd' ') meson"
fi

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

# Whether the release's own meson, as far as apt knows it, will do.
meson_is_in_release() {
    local candidate
    candidate=$(apt-cache policy meson | sed -n 's/^ *Candidate: //p')
    [ -n "$candidate" ] && [ "$candidate" != '(none)' ] &&
        dpkg --compare-versions "$candidate" ge "$MESON_WANTED"
}

packages() { # N
    if [ "$1" = 1 ]; then echo '1 package'; else echo "$1 packages"; fi
}

mapfile -t lack < <(missing)
meson=
meson_is_new_enough || meson="meson (>= $MESON_WANTED)"
if [ -n "$print" ]; then
    [ ${#lack[@]} = 0 ] || printf '%s\n' "${lack[@]}"
    [ -z "$meson" ] || echo "$meson"
    exit 0
fi
count=$((${#lack[@]} + $([ -z "$meson" ] && echo 0 || echo 1)))
[ "$count" -gt 0 ] || exit 0
if [ "$(id -u)" != 0 ] && ! sudo -n true 2>/dev/null && ! { [ -t 0 ] && command -v sudo >/dev/null; }; then
    die "$(packages "$count") missing and this is not root: have root run '$called'"
fi
export DEBIAN_FRONTEND=noninteractive
# Here, as the user: what root makes below it is root's.
mkdir -p "$BUILD/apt"
log=$BUILD/deps.log

complain() { # MESSAGE
    log_says "$log"
    die "$1 (log: build/deps.log): check the network and the host's apt sources"
}

as_root apt-get -q update >"$log" 2>&1 || complain 'apt-get update failed'
# Of a run that was interrupted; apt-get would refuse to go on.
if [ -n "$(dpkg --audit 2>/dev/null)" ]; then
    as_root env DEBIAN_FRONTEND=noninteractive dpkg --configure -a >>"$log" 2>&1 ||
        complain 'dpkg could not configure what another run has left unpacked'
fi
if [ -n "$meson" ] && meson_is_in_release; then
    lack+=(meson)
    meson=
fi
if [ ${#lack[@]} -gt 0 ]; then
    note "installing $(packages ${#lack[@]})"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Dpkg::Use-Pty=0 \
        install --no-install-recommends "${lack[@]}" >>"$log" 2>&1 ||
        complain 'apt-get could not install them'
fi
if [ -n "$meson" ]; then
    suite=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")-backports
    note "installing meson from $suite (QEMU wants >= $MESON_WANTED)"
    as_root "$ROOT/ci/helpers/apt_private.py" deb "$suite" apt-get -q -y -o Dpkg::Use-Pty=0 \
        install --no-install-recommends -t "$suite" meson >>"$log" 2>&1 ||
        complain "meson could not be installed from $suite"
fi
meson_is_new_enough || die "meson is still older than $MESON_WANTED: see build/deps.log"
