#!/usr/bin/env bash
# From a clone to a patched, booted qemu-system-x86_64.  Does nothing itself:
# each step is a stage in ci/ that can be run alone.
set -euo pipefail
# shellcheck source=ci/lib/env.sh
. "$(dirname "$0")/ci/lib/env.sh"

usage() {
    cat <<EOF
examples:
  ./configure-wrapper.sh                      all of it: build/patched/qemu-system-x86_64
  ./configure-wrapper.sh --pristine           the same pin without the queue: build/pristine/
  ./configure-wrapper.sh --profile lean       few features, quick to build
  ./configure-wrapper.sh --tarball ~/$QEMU_TARBALL
  ./configure-wrapper.sh -- --enable-debug    more arguments for QEMU's configure

Installs what is missing (as root or with sudo), takes and verifies QEMU
v$QEMU_VERSION, applies the queue, configures, builds and boots the result.
Run again it does only what changed; interrupted, it goes on where it was.

options:
  --pristine              build the pin without the queue, beside the patched one:
                          qemu-system-x86_64 and qemu-img, to compare with
  --topic T               topic T and what it needs, no more, in build/topic-T
  --profile server|lean   features: those of a server build (default), or few
  --tarball FILE          take QEMU's sources from this tarball
  --distfiles DIR         look for the tarball in DIR (also: THRIFT_DISTFILES)
  --no-deps               install nothing
  --no-boot               leave out the boot at the end
  --dry-run               print the stages and the patches, do nothing
  -- ARGS                 passed on to QEMU's configure

Exit status: 0 built and booted, 1 a stage failed, 2 wrong use.
EOF
}

variant=patched profile=server deps=1 boot=1 dry='' tarball='' base_args=() extra=()
while [ $# -gt 0 ]; do
    case $1 in
    --help | -h)
        usage
        exit 0
        ;;
    --topic | --profile | --tarball | --distfiles)
        if [ $# -lt 2 ] || [ -z "$2" ]; then
            usage_error "$1 needs a value"
        fi
        case $1 in
        --topic)
            check_topic "$2"
            variant=topic-$2
            ;;
        --profile) profile=$2 ;;
        --tarball)
            tarball=$2
            base_args+=("$1" "$(realpath -ms -- "$2")")
            ;;
        *) base_args+=("$1" "$(realpath -ms -- "$2")") ;;
        esac
        shift
        ;;
    --pristine) variant=pristine ;;
    --no-deps) deps= ;;
    --no-boot) boot= ;;
    --dry-run) dry=1 ;;
    --)
        shift
        extra=(-- "$@")
        break
        ;;
    *) usage_error "unknown option '$1'" ;;
    esac
    shift
done
case $profile in server | lean) ;; *) usage_error "no profile '$profile': use server or lean" ;; esac

stages=()
[ -z "$deps" ] || stages+=("ci/deps.sh --profile $profile")
stages+=("ci/base.sh$([ ${#base_args[@]} = 0 ] || printf ' %q' "${base_args[@]}")")
stages+=("ci/apply.sh --variant $variant")
stages+=("ci/build.sh --variant $variant --profile $profile$([ ${#extra[@]} = 0 ] || printf ' %q' "${extra[@]}")")
[ -z "$boot" ] || stages+=("ci/boot.py build/$variant/qemu-system-x86_64")

if [ -n "$dry" ]; then
    printf '%s\n' "${stages[@]}"
    "$ROOT/ci/apply.sh" --variant "$variant" --dry-run | sed 's/^/  patches\//'
    exit 0
fi
# Before packages are installed for nothing
[ -z "$tarball" ] || [ -f "$tarball" ] || die "--tarball $tarball: no such file" 2
lock_build
cd "$ROOT"
i=0
for stage in "${stages[@]}"; do
    i=$((i + 1))
    note "[$i/${#stages[@]}] $stage"
    bash -c "exec $stage" || exit
done
echo "$BUILD/$variant/qemu-system-x86_64"
"$BUILD/$variant/qemu-system-x86_64" --version | head -n 1
if [ "$variant" = patched ]; then
    note "next: ci/check runs the tests"
else
    note "next: tests/bench/sync_cost.py compares builds"
fi
