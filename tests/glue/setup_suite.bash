# Made once for all tests: the tiny sources, a clone of a tiny queue, and the
# same after ci/base.sh and ci/apply.sh.
# shellcheck shell=bash

setup_suite() {
    # shellcheck source=tests/glue/helper.bash
    . "$(dirname "${BASH_SOURCE[0]}")/helper.bash"
    mkdir -p "$DIST" "$FIXTURES/home"
    export HOME=$FIXTURES/home
    git config --global user.name 'Ada Tester'
    git config --global user.email ada@example.com
    make_stubs "$FIXTURES/stubs"
    make_sources "$FIXTURES/tiny-1.0"
    pack "$FIXTURES/tiny-1.0" "$TARBALL"
    make_upstream "$FIXTURES/tiny-1.0" "$UPSTREAM"
    make_checkout "$FIXTURES/developed"
    if ! {
        make_queue "$FIXTURES/developed"
        mkdir "$FIXTURES/clone"
        (cd "$FIXTURES/developed" && tar --exclude=./build -cf - .) | tar -xf - -C "$FIXTURES/clone"
        cp -a "$FIXTURES/clone" "$FIXTURES/applied"
        "$FIXTURES/applied/ci/base.sh" --tarball "$TARBALL"
        "$FIXTURES/applied/ci/apply.sh"
    } >"$FIXTURES/log" 2>&1; then
        cat "$FIXTURES/log"
        return 1
    fi
}
