#!/usr/bin/env bash
# Make a Debian package of what was built.
set -euo pipefail
# shellcheck source=ci/lib/env.sh
. "$(dirname "$0")/lib/env.sh"

usage() {
    cat <<'EOF'
examples:
  ci/package.sh                   build/qemu-thrift_VERSION_amd64.deb
  apt-get install ./build/qemu-thrift_*.deb
  apt-get purge qemu-thrift

Everything is below /opt/qemu-thrift, but for one link: Debian's own packages
of QEMU stay as they are, and
  /usr/bin/qemu-system-x86_64-thrift
is the patched binary.  Firmware comes from Debian's packages, which it depends
on.  Prints the package's path.
Exit status: 0 made, 1 something is missing, 2 wrong use.
EOF
}

failed() { # WHAT
    log_says "$BUILD/package.log"
    die "$1 failed (log: build/package.log)"
}

only_help "$@"
need_cmd dpkg-shlibdeps dpkg-dev
need_cmd strip binutils
binary=$BUILD/patched/qemu-system-x86_64
[ -x "$binary" ] || die "there is no $binary: run ./configure-wrapper.sh"
lock_build
need_space "$BUILD" 1500
arch=$(dpkg --print-architecture)
patches=$(series_patches '' | wc -l)
tree=$("$binary" --version | sed -n 's/.*(qemu-thrift, queue \([0-9a-f]*\)).*/\1/p')
[ -n "$tree" ] || die "$binary has no queue in it: run ./configure-wrapper.sh"
version=$QEMU_VERSION+thrift$patches.$tree
stage=$BUILD/package root=$BUILD/package/root opt=$BUILD/package/root/opt/qemu-thrift
SOURCE_DATE_EPOCH=$(date -d "$QEMU_BASE_DATE" +%s)
export SOURCE_DATE_EPOCH
rm -rf "$stage"
mkdir -p "$root/DEBIAN" "$root/usr/bin" "$root/usr/share/doc/qemu-thrift" "$root/opt" "$stage/debian"

note "installing below /opt/qemu-thrift"
# 'ninja uninstall' removes what this names, and it may be root's.
installed=$BUILD/patched/meson-logs/install-log.txt
[ ! -e "$installed" ] || cp "$installed" "$stage/install-log.txt"
rm -f "$installed"
status=0
DESTDIR=$stage/dest ninja -C "$BUILD/patched" install >"$BUILD/package.log" 2>&1 || status=$?
rm -f "$installed"
[ ! -e "$stage/install-log.txt" ] || mv "$stage/install-log.txt" "$installed"
[ "$status" = 0 ] || failed 'ninja install'
mv "$stage/dest/usr/local" "$opt"
# For menus and for those who compile plugins; Debian has them.
rm -rf "$opt/include" "$opt/share/applications" "$opt/share/icons"
mapfile -t programs < <(find "$opt/bin" "$opt/libexec" -type f)
strip --strip-unneeded "${programs[@]}"
ln -s /opt/qemu-thrift/bin/qemu-system-x86_64 "$root/usr/bin/qemu-system-x86_64-thrift"
cp "$ROOT/README.rst" "$SRC"/docs/system/i386/kvm-e*.rst "$SRC/docs/devel/migration/untouched.rst" \
    "$root/usr/share/doc/qemu-thrift/"
{
    echo "QEMU $QEMU_VERSION, https://www.qemu.org, and the queue of patches qemu-thrift."
    echo "Licence: GPL-2.0-or-later, with parts under compatible licences;"
    echo "see /usr/share/common-licenses/GPL-2 and what follows."
    echo
    cat "$SRC/LICENSE"
} >"$root/usr/share/doc/qemu-thrift/copyright"

note "looking for the libraries it wants"
printf 'Source: qemu-thrift\n\nPackage: qemu-thrift\nArchitecture: any\n' >"$stage/debian/control"
libraries=$(cd "$stage" && dpkg-shlibdeps -O "${programs[@]/#/-e}" 2>>"$BUILD/package.log") ||
    failed dpkg-shlibdeps
cat >"$root/DEBIAN/control" <<EOF
Package: qemu-thrift
Version: $version
Architecture: $arch
Maintainer: $(git -C "$ROOT" log -1 --format='%an <%ae>')
Installed-Size: $(du -sk --apparent-size "$opt" | cut -f1)
Depends: ${libraries#shlibs:Depends=}, seabios, ipxe-qemu, qemu-system-data
Section: otherosfs
Priority: optional
Homepage: https://www.qemu.org
Description: QEMU $QEMU_VERSION for x86-64 that scans, copies and exits less
 A queue of $patches patches on QEMU $QEMU_VERSION: a dirty memory sync that costs what
 is dirty, virtio-net reception with fewer copies and notifications, and KVM
 exits served in clusters.  It does not get in the way of Debian's own QEMU.
EOF
package=$BUILD/qemu-thrift_${version}_$arch.deb
rm -f "$BUILD"/qemu-thrift_*.deb
dpkg-deb --root-owner-group -Zxz -z1 --build "$root" "$package" >>"$BUILD/package.log" 2>&1 ||
    failed dpkg-deb
rm -rf "$stage"
echo "$package"
