#!/usr/bin/env bash
# Build QEMU's documentation from the patched tree, with Sphinx.
set -euo pipefail
# shellcheck source=ci/lib/env.sh
. "$(dirname "$0")/lib/env.sh"

usage() {
    cat <<'EOF'
examples:
  ci/docs.sh                      build/docs/index.html

Sphinx must not warn about a page or a source file that the queue touches.
Prints the paths of the pages that it touches.
Exit status: 0 built, 1 not built or with such a warning, 2 wrong use.
EOF
}

only_help "$@"
need_cmd sphinx-build "python3-sphinx python3-sphinx-rtd-theme"
[ -f "$SRC/docs/conf.py" ] || die "$SRC has no sources: run ./configure-wrapper.sh"
lock_build
out=$BUILD/docs log=$BUILD/docs.log
rm -rf "$out"
mkdir -p "$out"
(cd "$SRC" && sphinx-build -q -Dversion="$QEMU_VERSION" -Drelease="$QEMU_VERSION" \
    -Dkerneldoc_werror=0 -Ddepfile="$out/.depfile" -Ddepfile_stamp="$out/.stamp" \
    -b html -d "$out/.doctrees" docs "$out") >"$log" 2>&1 || {
    log_says "$log"
    die "sphinx-build failed (log: build/docs.log)"
}
mapfile -t touched < <(git -C "$SRC" diff --name-only refs/thrift/base queue)
warnings=$(printf '%s\n' "${touched[@]}" | grep -F -f - "$log" || true)
[ -z "$warnings" ] || die "Sphinx warns: $(head -n 1 <<<"$warnings") (log: build/docs.log)"
for page in "${touched[@]}"; do
    case $page in
    docs/*.rst)
        page=$out/${page#docs/}
        [ -f "${page%.rst}.html" ] || die "there is no ${page%.rst}.html: is it in an index?"
        echo "${page%.rst}.html"
        ;;
    esac
done
