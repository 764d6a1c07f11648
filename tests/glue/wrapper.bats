#!/usr/bin/env bats
# ./configure-wrapper.sh and the stages it runs behind ci/apply.sh, with a
# configure, a ninja and a QEMU that only pretend.

load helper

setup() {
    tiny clone
}

applied() {
    cp -a "$FIXTURES/applied/build" .
}

on_x86_64() {
    [ "$(uname -m)" = x86_64 ] || skip "this host is $(uname -m)"
}

wrapper() {
    ./configure-wrapper.sh --no-deps --tarball "$TARBALL" "$@"
}

tree() { # DIR
    git -C "$1" rev-parse --short=12 'HEAD^{tree}'
}

own_commit() { # SED FILE
    sed -i "$1" "$SRC/$2"
    git -C "$SRC" commit -q -a -m "own: a change of $2"
}

@test "--dry-run prints the stages and the patches, and does nothing" {
    run -0 ./configure-wrapper.sh --dry-run
    golden dry-run
    run -0 ./configure-wrapper.sh --dry-run --no-deps --no-boot --profile lean --topic alpha \
        --tarball '/a b/c.tar.xz' -- --enable-debug 'two words'
    golden dry-run-options
    run -0 ./configure-wrapper.sh --dry-run --pristine
    says 'ci/apply.sh --variant pristine'
    never_says patches/
    [ ! -e build ]
}

@test "wrong use ends with 2 and one line, before anything is done" {
    while read -r line; do
        # shellcheck disable=SC2086 # several words
        run -2 ./configure-wrapper.sh $line
        one_line "${line##* }"
    done <<'END'
--bad
bad
--topic gamma
--profile huge
--pristine --bad
--dry-run --profile huge
END
    [ ! -e build ]
}

@test "all of it, then again: only what changed is done" {
    on_x86_64
    run -0 wrapper
    for stage in '[1/4] ci/base.sh' '[2/4] ci/apply.sh' '[3/4] ci/build.sh' '[4/4] ci/boot.py' \
        'configuring patched (server)' '[3/3] beta/0001' 'SeaBIOS came to its end' \
        "QEMU emulator version 1.0 (qemu-thrift, queue $(tree build/src))"; do
        says "$stage"
    done
    same "$(build/patched/qemu-system-x86_64 --version)" \
        "QEMU emulator version 1.0 (qemu-thrift, queue $(tree build/src))"
    run -0 wrapper
    never_says configuring
    never_says unpacking
    never_says '] alpha/'
}

@test "on stdout there are the binary and its version" {
    on_x86_64
    run -0 --separate-stderr wrapper
    same "$output" "$REPO/build/patched/qemu-system-x86_64
QEMU emulator version 1.0 (qemu-thrift, queue $(tree build/src))"
    [[ $stderr == *'next: ci/check'* ]]
}

@test "--pristine and --topic build beside the patched one" {
    on_x86_64
    run -0 wrapper --pristine --no-boot
    says 'QEMU emulator version 1.0 (qemu-thrift, pristine base)'
    run -0 wrapper --topic alpha --no-boot
    says "build/topic-alpha/qemu-system-x86_64"
    says "queue $(tree build/topic-alpha.d/src)"
    run -0 wrapper --no-boot
    says "build/patched/qemu-system-x86_64"
    grep -q test_bit build/pristine.d/src/migration/ram.c
}

@test "what is behind -- comes to configure word by word" {
    on_x86_64
    wrapper --no-boot --profile lean -- --enable-debug "it's two words" '$HOME'
    same "$(tail -n 3 build/patched/configure.args)" "--enable-debug
it's two words
\$HOME"
    grep -qx -- --without-default-features build/patched/configure.args
    grep -qx -- --target-list=x86_64-softmmu build/patched/configure.args
}

@test "a relative --tarball means the folder one is in" {
    on_x86_64
    cd "$BATS_TEST_TMPDIR"
    cp "$TARBALL" mine.tar.xz
    run -0 repo/configure-wrapper.sh --no-deps --no-boot --tarball mine.tar.xz
    rm -rf repo/build
    mkdir d
    cp "$TARBALL" d/
    run -0 repo/configure-wrapper.sh --no-deps --no-boot --distfiles d
}

@test "a tarball that isn't there ends it before anything is installed" {
    run -2 ./configure-wrapper.sh --tarball "$BATS_TEST_TMPDIR/none.tar.xz"
    one_line "--tarball $BATS_TEST_TMPDIR/none.tar.xz: no such file"
    [ ! -e build ]
}

@test "a stage that fails ends it there" {
    head -c 100 "$TARBALL" >"$BATS_TEST_TMPDIR/short.tar.xz"
    run -1 ./configure-wrapper.sh --no-deps --tarball "$BATS_TEST_TMPDIR/short.tar.xz"
    says '[1/4] ci/base.sh'
    one_error 'wrong sha256'
    never_says '[2/4]'
}

@test "a patch that does not apply ends it there" {
    sed -i 's/^ M: Mary Keeper/ M: Somebody Else/' patches/alpha/0002-*.patch
    run -1 wrapper
    says '2/3 patches/alpha/0002'
    never_says '[3/4]'
}

@test "build.sh: what does not compile is shown, and its log is named" {
    on_x86_64
    applied
    own_commit '1i #error no' migration/ram.c
    run -1 ci/build.sh
    says 'FAILED: ram.c.o'
    says 'build/patched-build.log'
    [ ! -e build/patched/qemu-system-x86_64 ]
}

# told_by_ninja SECONDS,DONE/ALL...: what ninja tells a pipe at these times.
told_by_ninja() {
    local told
    {
        echo '#!/bin/sh'
        for told; do
            echo "echo '[${told#*,}, ${told%,*}.500s] Compiling C object a.o'"
            echo "echo '../src/a.c:1:2: warning: [1/2] of the compiler'"
        done
        echo "exec '$FIXTURES/stubs/ninja' \"\$@\" >/dev/null"
    } | stub ninja
}

@test "build.sh: how far it is, the time left and the log are told every 10 s" {
    on_x86_64
    applied
    told_by_ninja 0,1/900 9,89/900 10,90/900 19,95/900 21,300/900 29,700/900 41,840/900 49,899/900 50,900/900
    run -0 ci/build.sh
    same "$(sed -n 's/^build.sh: \[/[/p' <<<"$output")" "[90/900] 90 s left
[300/900] 31 s left
[840/900] 2 s left"
    says 'jobs (log: build/patched-build.log)'
    never_says warning
    never_says 'profile lean'
    grep -q '1:2: warning' build/patched-build.log
    # Nothing to do: nothing to tell.
    told_by_ninja
    run -0 ci/build.sh
    never_says left
}

@test "build.sh: the lean profile is proposed where the server build takes long" {
    on_x86_64
    applied
    # 59 s are no time to judge by; 15 minutes are not too long.
    told_by_ninja 10,10/1000 59,58/1000 70,78/1000 100,99/1000
    run -0 ci/build.sh
    says '[99/1000] 15 min left'
    same "$(grep -- '--profile lean' <<<"$output")" \
        "build.sh: all of it takes about 17 min at this pace: ./configure-wrapper.sh --profile lean has fewer features and takes less"
    run -0 ci/build.sh --profile lean
    says '[99/1000] 15 min left'
    never_says '--profile lean'
    told_by_ninja 10,10/1000 59,58/1000 70,78/1000
    run -0 ci/build.sh
    says '[58/1000] 16 min left'
    never_says '--profile lean'
}

@test "build.sh: what configure complains of is shown, and is tried again" {
    on_x86_64
    applied
    own_commit '2i echo "ERROR: no glib"; exit 1' configure
    run -1 ci/build.sh
    says 'ERROR: no glib'
    says 'build/patched-configure.log'
    own_commit 2d configure
    run -0 ci/build.sh
    says configuring
}

@test "build.sh: other options configure anew, another commit does not" {
    on_x86_64
    applied
    ci/build.sh
    own_commit 's/1.0/1.0 of mine/' VERSION
    run -0 ci/build.sh
    never_says configuring
    says "built patched: QEMU emulator version 1.0 (qemu-thrift, queue $(tree build/src))"
    run -0 ci/build.sh --profile lean
    says 'configuring patched (lean)'
    run -0 ci/build.sh --profile lean -- --enable-debug
    says configuring
    run -0 ci/build.sh --profile lean -- --enable-debug
    never_says configuring
}

@test "boot.py: the last words of SeaBIOS, or why not" {
    stub qemu <<'END'
#!/bin/sh
for arg; do
    case $arg in file,*path=*) echo 'No bootable device.' >"${arg##*path=}" ;; esac
done
exec sleep 600
END
    run -0 ci/boot.py "$BATS_TEST_TMPDIR/stubs/qemu"
    says 'SeaBIOS came to its end'
    printf '#!/bin/sh\necho "no such machine" >&2\nexit 1\n' | stub qemu
    run -1 ci/boot.py --accel tcg "$BATS_TEST_TMPDIR/stubs/qemu"
    says 'error:'
    says 'no such machine'
    printf '#!/bin/sh\nexec sleep 600\n' | stub qemu
    run -1 ci/boot.py --accel tcg --timeout 1 "$BATS_TEST_TMPDIR/stubs/qemu"
    says 'no end of SeaBIOS in 1 s'
}

@test "package.sh, docs.sh: what failed is told, not only where it is logged" {
    local name
    on_x86_64
    applied
    ci/build.sh
    touch "$SRC/docs/conf.py"
    for name in ninja sphinx-build dpkg-shlibdeps strip; do
        printf '#!/bin/sh\necho reading\necho "ERROR: no such file"\nexit 1\n' | stub $name
    done
    run -1 ci/package.sh
    says $'    ERROR: no such file\npackage.sh: error: ninja install failed (log: build/package.log)'
    never_says reading
    run -1 ci/docs.sh
    says $'    ERROR: no such file\ndocs.sh: error: sphinx-build failed (log: build/docs.log)'
}

@test "every-patch.sh: each commit is built and tested, once" {
    on_x86_64
    applied
    run -0 ci/every-patch.sh
    says '[1/3] pass: migration/ram: count pages by words'
    says '[3/3] pass: docs: say how pages are counted'
    run -0 ci/every-patch.sh
    says '[3/3] passed before'
    never_says '] pass:'
    # Another message, the same tree.
    GIT_SEQUENCE_EDITOR='sed -i 1s/pick/reword/' GIT_EDITOR='sed -i 1s/by.words/better/' \
        git -C "$SRC" rebase -q -i refs/thrift/base
    run -0 ci/every-patch.sh
    says '[1/3] passed before: migration/ram: count pages better'
    never_says '] pass:'
    run -0 ci/every-patch.sh --forget --topic beta
    says '[1/1] pass: docs'
}

@test "every-patch.sh: after --minutes no commit is begun, and the next run goes on" {
    on_x86_64
    applied
    # As many as bash has counted when it begins
    SECONDS=3600 run -0 ci/every-patch.sh --minutes 1
    says '3 of 3 commits were not tested: 1 minutes are over'
    never_says '] pass'
    run -0 ci/every-patch.sh --minutes 1
    says '[3/3] pass'
    never_says 'not tested'
}

@test "every-patch.sh: a topic is built on the base and what it needs, no more" {
    on_x86_64
    applied
    : >patches/beta/needs
    ci/export.sh
    run -0 ci/every-patch.sh
    says '[3/3] pass: docs'
    same "$(git -C build/every.d/src rev-parse HEAD~)" "$(rev refs/thrift/base)"
    # Another place in series changes nothing of it.
    run -0 ci/every-patch.sh --topic beta
    says '[1/1] passed before: docs'
}

@test "every-patch.sh: a topic's qtests are run at its end" {
    on_x86_64
    applied
    echo 'words-test -p /words # its only one' >patches/beta/tests
    run -1 ci/every-patch.sh
    says '[2/3] pass: tests/unit'
    says '[3/3] FAIL: docs'
    mkdir -p build/every.d/obj/tests/qtest
    printf '#!/bin/sh\necho "$QTEST_QEMU_BINARY $*" >../ran\necho 1..1\necho ok 1 /words\n' >build/every.d/obj/tests/qtest/words-test
    chmod +x build/every.d/obj/tests/qtest/words-test
    run -0 ci/every-patch.sh
    says '[2/3] passed before: tests/unit'
    says '[3/3] pass: docs'
    same "$(cat build/every.d/ran)" './qemu-system-x86_64 --tap -p /words'
    run -0 ci/every-patch.sh
    says '[3/3] passed before: docs'
    run -0 ci/export.sh --check
}

@test "every-patch.sh: a need that is not named is told" {
    on_x86_64
    applied
    echo more >>"$SRC/tests/unit/test-words.c"
    git -C "$SRC" commit -q -a -m 'tests/unit: one word more

It stands in a file that the topic before it has made.'
    : >patches/beta/needs
    ci/export.sh
    run -1 ci/every-patch.sh --topic beta
    says 'beta/0002-tests-unit-one-word-more.patch does not apply to the base and what beta needs'
    says 'patches/beta/needs'
}

@test "every-patch.sh: a commit that breaks the build or a test is named" {
    on_x86_64
    applied
    own_commit '1i #error no' migration/ram.c
    own_commit 1d migration/ram.c
    own_commit '1i broken_test' migration/ram.c
    own_commit 1d migration/ram.c
    # As of a run that was killed while it made its work tree
    git -C "$SRC" worktree add -q --detach --lock --reason initializing "$PWD/build/every.d/src" queue
    rm -rf build/every.d/src
    run -1 ci/every-patch.sh
    says '[4/7] FAIL: own: a change of migration/ram.c'
    says 'FAILED: ram.c.o'
    says '    ram.c:1: error: #error'
    never_says '[5/7]'
    # A meson that says what failed
    sed -i 's|^test) ! \(.*\) ;;$|test) ! \1 \|\| { echo "1/1 qemu:unit / test-ram FAIL 0.01s"; exit 1; } ;;|' \
        build/every.d/obj/pyvenv/bin/meson
    run -1 ci/every-patch.sh --keep-going
    says '[3/7] passed before'
    says '[5/7] pass'
    says '[6/7] FAIL'
    # What the unit tests said, and nothing of an older build
    says '    1/1 qemu:unit / test-ram FAIL 0.01s'
    same "$(grep -c 'error: #error' <<<"$output")" 1
    says '2 of 7 commits do not build or pass'
}
