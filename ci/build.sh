#!/usr/bin/env bash
# Configure and build one variant: patched, without, asan, clang and fuzz from build/src,
# pristine or topic-NAME from a tree of their own.
set -euo pipefail
# shellcheck source=ci/lib/env.sh
. "$(dirname "$0")/lib/env.sh"

usage() {
    cat <<'EOF'
examples:
  ci/build.sh                            build/patched/qemu-system-x86_64
  ci/build.sh --variant pristine         the same pin without the queue
  ci/build.sh --profile lean             few features, quick
  ci/build.sh --variant asan             patched, lean, with AddressSanitizer
                                         and UndefinedBehaviorSanitizer
  ci/build.sh --variant clang            patched, lean, by clang
  ci/build.sh --variant without          patched, without exit clusters; only
                                         QEMU is built
  ci/build.sh --variant fuzz             build/fuzz/qemu-fuzz-x86_64, by clang,
                                         with both sanitizers
  ci/build.sh -- --enable-asan           more configure arguments

options:
  --variant NAME          patched (default), without, asan, clang, fuzz,
                          pristine or topic-NAME
  --profile server|lean   features (default: server; of asan, clang and fuzz:
                          lean)
  --target T              a ninja target, can be repeated (default: all; of
                          fuzz: qemu-fuzz-x86_64; of without: QEMU; of
                          pristine: QEMU and qemu-img)
  -- ARGS                 passed on to QEMU's configure

Configures anew only if profile or arguments changed.
Exit status: 0 built, 1 it does not build, 2 wrong use.
EOF
}

variant=patched profile='' targets=() extra=()
while [ $# -gt 0 ]; do
    case $1 in
    --help | -h)
        usage
        exit 0
        ;;
    --variant | --profile | --target)
        [ $# -gt 1 ] || usage_error "$1 needs a value"
        if [ "$1" = --target ]; then targets+=("$2"); else declare "${1#--}=$2"; fi
        shift
        ;;
    --)
        shift
        extra=("$@")
        break
        ;;
    *) usage_error "unknown option '$1'" ;;
    esac
    shift
done

# Sources and objects always lie side by side as src and NAME, so that both
# variants compile '../src/...' and share what ccache holds.
case $variant in
patched | without | asan | clang | fuzz) src=$SRC obj=$BUILD/$variant ;;
pristine | topic-* | every | mutants) src=$BUILD/$variant.d/src obj=$BUILD/$variant.d/obj ;;
rebase-*) src=$BUILD/rebase.d/${variant#rebase-}/src obj=$BUILD/rebase.d/${variant#rebase-}/obj ;;
*) usage_error "no variant '$variant'" ;;
esac
case $variant in
asan | clang | fuzz) profile=${profile:-lean} ;;
*) profile=${profile:-server} ;;
esac
[ -x "$src/configure" ] || die "$src has no sources: run ./configure-wrapper.sh"

firmware=(/usr/share/seabios /usr/share/qemu /usr/lib/ipxe/qemu)
args=(--target-list=x86_64-softmmu --prefix=/usr/local
    --firmwarepath="$(printf '%s\n' "${firmware[@]}" | paste -sd:)"
    --disable-install-blobs --disable-docs --python=/usr/bin/python3
    --enable-kvm --enable-tcg --enable-slirp --enable-cap-ng --enable-pixman
    --enable-tools --enable-vhost-net --enable-vhost-user --enable-vhost-kernel
    --enable-fdt=system --disable-rust)
case $profile in
lean) args+=(--without-default-features) ;;
server)
    # What is found is used, but for what a server has no use for.
    args+=(--enable-vnc --disable-gtk --disable-sdl --disable-opengl
        --disable-virglrenderer --disable-spice --disable-xen --disable-brlapi
        --disable-pa --disable-alsa --disable-jack --disable-oss
        --disable-pipewire --disable-sndio --disable-guest-agent
        --disable-rutabaga-gfx)
    ;;
*) usage_error "no profile '$profile': use server or lean" ;;
esac
# Whether a commit builds and passes is known in a third of the time without
# what makes it fast; the queue's tip is built and tested as it is used, too.
# ci/mutants shares what ccache holds of these builds.
case $variant in every | mutants)
    args+=(-Doptimization=0 --disable-debug-info)
    # A commit links up to 300 programs anew: lld takes a third of ld's time.
    ! command -v ld.lld >/dev/null || args+=(--extra-ldflags=-fuse-ld=lld)
    ;;
esac
# The same features else: so most of it is in ccache.
[ "$variant" != without ] || args+=(--disable-kvm-exit-clustering)
# gcc warns of more with sanitizers, and not always rightly.
[ "$variant" != asan ] || args+=(--enable-asan --enable-ubsan --disable-werror
    -Doptimization=1)
[ "$variant" != fuzz ] || args+=(--enable-fuzzing --enable-asan --enable-ubsan
    --disable-werror)
[ "$(uname -m)" = x86_64 ] || die "this host is $(uname -m): qemu-thrift is built on x86-64"
need_cmd ninja ninja-build

cc=cc cxx=c++
case $variant in clang | fuzz)
    need_cmd clang clang
    cc=clang cxx=clang++
    ;;
esac
[ ${#targets[@]} -gt 0 ] || case $variant in
fuzz) targets=(qemu-fuzz-x86_64) ;;
# To compare with; its tests are those of patched.
pristine) targets=(qemu-system-x86_64 qemu-img) ;;
without) targets=(qemu-system-x86_64) ;;
*) targets=(all) ;;
esac
if command -v ccache >/dev/null; then
    cc="ccache $cc" cxx="ccache $cxx"
    export CCACHE_BASEDIR=${src%/src} CCACHE_NOHASHDIR=1 \
        CCACHE_SLOPPINESS=time_macros,include_file_mtime,include_file_ctime
fi

what="queue $(git -C "$src" rev-parse --short=12 'HEAD^{tree}')"
case $variant in
pristine) what="pristine base" ;;
# A version of its own would configure each commit anew.
every | mutants | rebase-*) what="some commit" ;;
esac
version="qemu-thrift, $what"

lock_build
mkdir -p "$obj"
need_space "$obj" 2500
key=$(printf '%s\n' "$profile" "${args[@]}" "${extra[@]}" | sha256sum)
if [ "$(cat "$obj/thrift-configured" 2>/dev/null)" != "$key" ]; then
    note "configuring $variant ($profile)"
    find "$obj" -mindepth 1 -delete
    if ! (cd "$obj" && ../src/configure --cc="$cc" --host-cc="$cc" --cxx="$cxx" \
        --with-pkgversion="$version" "${args[@]}" "${extra[@]}") \
        >"$BUILD/$variant-configure.log" 2>&1; then
        log_says "$BUILD/$variant-configure.log"
        die "configure failed (log: build/$variant-configure.log): ci/deps.sh installs what it needs"
    fi
    printf '%s\n' "$key" >"$obj/thrift-configured"
    printf '%s\n' "$version" >"$obj/thrift-version"
elif [ "$(cat "$obj/thrift-version" 2>/dev/null)" != "$version" ]; then
    (cd "$obj" && pyvenv/bin/meson configure -Dpkgversion="$version") >/dev/null
    printf '%s\n' "$version" >"$obj/thrift-version"
fi
# A binary in its build folder takes even absolute paths below qemu-bundle.
for dir in "${firmware[@]}"; do
    mkdir -p "$obj/qemu-bundle${dir%/*}"
    ln -sfn "$dir" "$obj/qemu-bundle$dir"
done
case $variant in
pristine | topic-*) ln -sfn "$variant.d/obj" "$BUILD/$variant" ;;
esac

# Seconds between two lines of progress in a log, seconds of a build that tell
# how long it takes, and seconds that are long.
EVERY=10 JUDGED=60 LONG=900

time_left() { # SECONDS
    if [ "$1" -lt 120 ]; then echo "$1 s left"; else echo "$(($1 / 60)) min left"; fi
}

# show_progress: what ninja prints, with NINJA_STATUS as below, in short.  The
# pace is that since the first line: before it headers are generated, quickly.
show_progress() {
    local line at all now left said=0 proposed='' from=0 from_at=0
    while IFS= read -r line; do
        [[ $line =~ ^\[([0-9]+)/([0-9]+),\ *([0-9]+) ]] || continue
        at=${BASH_REMATCH[1]} all=${BASH_REMATCH[2]} now=${BASH_REMATCH[3]}
        if [ "$at" -le "$from_at" ] || [ $((now - said)) -lt "$every" ]; then
            continue
        fi
        left=$(((now - from) * (all - at) / (at - from_at)))
        [ "$said" -gt 0 ] || from=$now from_at=$at
        said=$now
        if [ -t 2 ]; then
            printf '\r%s: [%s] %s\e[K' "$ME" "$at/$all" "$(time_left $left)" >&2
        else
            note "[$at/$all] $(time_left $left)"
        fi
        if [ -z "$proposed" ] && [ "$profile" = server ] && [ "$variant" != every ] &&
            [ "$now" -ge $JUDGED ] && [ $((now + left)) -gt $LONG ]; then
            proposed=1
            [ ! -t 2 ] || echo >&2
            note "all of it takes about $(((now + left + 30) / 60)) min at this pace:" \
                "./configure-wrapper.sh --profile lean has fewer features and takes less"
        fi
    done
    [ ! -t 2 ] || [ "$said" = 0 ] || echo >&2
}

note "building $variant with $(nproc) jobs (log: build/$variant-build.log)"
every=$EVERY
[ ! -t 2 ] || every=1
if ! NINJA_STATUS='[%f/%t, %es] ' ninja -C "$obj" "${targets[@]}" 2>&1 |
    tee "$BUILD/$variant-build.log" | show_progress; then
    grep -A12 -m3 -E '^FAILED' "$BUILD/$variant-build.log" >&2 ||
        log_says "$BUILD/$variant-build.log"
    die "the build of $variant failed (log: build/$variant-build.log)"
fi
version=$("$obj/qemu-system-x86_64" --version 2>/dev/null | head -n 1) || true
note "built $variant${version:+: $version}"
