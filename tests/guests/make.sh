#!/usr/bin/env bash
# Make the Linux guest of the tests in build/guests: Debian's cloud kernel, and
# an initramfs with busybox and what is in this folder.
set -euo pipefail
# shellcheck source=../../ci/lib/env.sh
. "$(dirname "$0")/../../ci/lib/env.sh"

usage() {
    cat <<'EOF'
examples:
  tests/guests/make.sh     vmlinuz, modules, initramfs.gz, ramwriter,
                           pagewriter, slowwriter, fastwriter, repwriter,
                           pairwriter, stallwriter, idler,
                           exitloops, kvmshim.so and exitshim.so in build/guests

The kernel is Debian's package linux-image-cloud-amd64, fetched with apt and
unpacked, not installed.  The writers are boot sectors, exitloops, idler and
stallwriter are firmware, and the shims are loaded into a QEMU.
A second run does only what changed.
Exit status: 0 all are there, 1 one could not be made, 2 wrong use.
EOF
}

only_help "$@"
here=$ROOT/tests/guests out=$BUILD/guests
# In the order they are loaded; one that the kernel has built in is left out.
modules=(virtio virtio_ring virtio_pci_modern_dev virtio_pci_legacy_dev
    virtio_pci virtio_blk failover net_failover virtio_net virtio_balloon)
mkdir -p "$out"
# Tests of two stages may want the guests at once, so one waits.
need_cmd flock util-linux
exec 8>"$out/.lock"
flock -w 5 8 || {
    note 'waiting for another run of make.sh'
    flock 8
}
# Of a run that was interrupted
rm -rf "$out"/tmp.*

last_error() { # WHAT APT SAID
    grep -E '^E:|error:' <<<"$1" | tail -n 1 | sed 's/^apt_private.py: error: //'
}

fetch_kernel() {
    local suite package tmp name file said
    suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
    tmp=$(mktemp -d "$out/tmp.XXXXXX")
    said=$("$ROOT/ci/helpers/apt_private.py" deb "$suite" apt-cache depends \
        linux-image-cloud-amd64 2>&1) ||
        die "Debian's cloud kernel is not available in $suite: $(last_error "$said")"
    package=$(sed -n 's/^ *Depends: \(linux-image-[0-9].*-cloud-amd64\)$/\1/p' <<<"$said")
    [ -n "$package" ] || die "$suite has no linux-image-cloud-amd64"
    note "fetching $package"
    said=$(cd "$tmp" && "$ROOT/ci/helpers/apt_private.py" deb "$suite" apt-get -q download "$package" 2>&1) ||
        die "$package could not be fetched: $(last_error "$said")"
    dpkg-deb -x "$tmp"/*.deb "$tmp/root"
    cp "$tmp"/root/boot/vmlinuz-* "$out/vmlinuz.tmp"
    mkdir "$tmp/modules"
    for name in "${modules[@]}"; do
        file=$(find "$tmp/root" -name "$name.ko*")
        case $file in
        '') continue ;;
        *.xz) xz -dc "$file" >"$tmp/modules/$name.ko" ;;
        *) cp "$file" "$tmp/modules/$name.ko" ;;
        esac
        echo "$name.ko" >>"$tmp/modules/order"
    done
    rm -rf "$out/modules"
    mv "$tmp/modules" "$out/modules"
    echo "$package" >"$out/kernel"
    mv "$out/vmlinuz.tmp" "$out/vmlinuz"
    rm -rf "$tmp"
}

make_initramfs() {
    local root=$out/root name
    need_cmd busybox busybox-static
    need_cmd cpio cpio
    rm -rf "$root"
    mkdir -p "$root/bin"
    cp "$(command -v busybox)" "$root/bin/busybox"
    ! ldd "$root/bin/busybox" >/dev/null 2>&1 ||
        die "busybox is dynamically linked: apt-get install busybox-static"
    for name in memwriter netreader screenwriter; do
        cc -O2 -Wall -Werror -static -o "$root/bin/$name" "$here/$name.c"
    done
    cp -r "$out/modules" "$root"
    install -m 755 "$here/init" "$root/init"
    (cd "$root" && find . | LC_ALL=C sort | cpio -o -H newc -R 0:0 --quiet |
        gzip -9n) >"$out/initramfs.tmp"
    mv "$out/initramfs.tmp" "$out/initramfs.gz"
}

# make_image NAME[=SOURCE] BITS ADDRESS SIZE [ARGS]: the linker would fill up
# what is too long
make_image() {
    local name=${1%=*} source=${1#*=} size=$4 emulation=elf_i386
    [ "$2" = 32 ] || emulation=elf_x86_64
    cc "-m$2" "${@:5}" -c -o "$out/$name.o" "$here/$source.S"
    ld -m "$emulation" --oformat binary -Ttext "$3" -o "$out/$name.tmp" "$out/$name.o"
    [ "$(stat -c %s "$out/$name.tmp")" = "$size" ] || die "$name.S does not make $size bytes"
    mv "$out/$name.tmp" "$out/$name"
}

if [ ! -f "$out/vmlinuz" ] || [ ! -f "$out/modules/order" ]; then
    fetch_kernel
fi
key=$(cat "$here"/init "$here"/*.[chS] "$here"/*.inc "$here/make.sh" "$out/kernel" | sha256sum)
if [ "$(cat "$out/key" 2>/dev/null)" != "$key" ] || [ ! -f "$out/initramfs.gz" ] ||
    [ ! -f "$out/ramwriter" ] || [ ! -f "$out/pagewriter" ] || [ ! -f "$out/exitloops" ] ||
    [ ! -f "$out/slowwriter" ] || [ ! -f "$out/fastwriter" ] || [ ! -f "$out/repwriter" ] ||
    [ ! -f "$out/pairwriter" ] || [ ! -f "$out/stallwriter" ] || [ ! -f "$out/idler" ] ||
    [ ! -f "$out/kvmshim.so" ] || [ ! -f "$out/exitshim.so" ]; then
    make_initramfs
    # 16384 pages: 64 MiB
    make_image ramwriter 32 0x7c00 512 -DRAMWRITER_PAGES=16384
    make_image pagewriter 64 0x7c00 512
    make_image exitloops 64 0xf0000 65536
    make_image stallwriter 64 0xf0000 65536
    make_image idler 64 0xf0000 65536
    # The same, a page each 2^21 ticks: about a millisecond
    make_image slowwriter 32 0x7c00 512 -DSLOWWRITER_PAGES=16384 -DSLOWWRITER_TICKS=21
    # And one each 2^8: hardly a wait
    make_image fastwriter=slowwriter 32 0x7c00 512 -DSLOWWRITER_PAGES=16384 \
        -DSLOWWRITER_TICKS=8
    # ... with 2 KiB by REP STOS
    make_image repwriter=slowwriter 32 0x7c00 512 -DSLOWWRITER_PAGES=16384 \
        -DSLOWWRITER_TICKS=8 -DSLOWWRITER_REP=2048
    # As slowwriter, on two CPUs
    make_image pairwriter=slowwriter 32 0x7c00 512 -DSLOWWRITER_PAGES=16384 \
        -DSLOWWRITER_TICKS=21 -DSLOWWRITER_PAIR
    # A QEMU may have the old one loaded.
    for shim in kvmshim exitshim; do
        cc -shared -fPIC -O2 -Wall -Werror -o "$out/$shim.tmp" "$here/$shim.c" -ldl
        mv "$out/$shim.tmp" "$out/$shim.so"
    done
    echo "$key" >"$out/key"
fi
note "guest: $(cat "$out/kernel") in build/guests"
