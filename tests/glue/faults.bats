#!/usr/bin/env bats
# What any command says of a program that is missing, of another run at work,
# and of a signal: one line.

load helper

setup() {
    tiny applied
}

@test "one run at a time writes to build/" {
    mkdir -p build/patched
    cp "$(type -P true)" build/patched/qemu-system-x86_64
    touch build/src/docs/conf.py
    echo '[]' >build/patched/compile_commands.json
    stub sphinx-build <<<'#!/bin/sh'
    exec 7>build/.lock
    flock 7
    for command in ci/docs.sh ci/package.sh ci/hosts.sh 'ci/bench --quick' ci/mutants ci/build.sh \
        ci/syntax.py; do
        # shellcheck disable=SC2086 # with an option
        run -1 timeout 300 $command 7>&-
        # What comes behind it is no error.
        one_error 'another run works in build/: wait for it to end' || {
            printf 'from: %s\n' "$command"
            false
        }
    done
}

@test "what a tool has left running does not keep others from build/" {
    # A compiler's cache that stays
    stub ninja <<END
#!/bin/sh
sleep 600 >&- 2>&- 3>&- &
echo \$! >$BATS_TEST_TMPDIR/left
exit 1
END
    mkdir -p build/patched
    run -1 ci/build.sh
    kill -0 "$(cat "$BATS_TEST_TMPDIR/left")"
    eventually flock -n build/.lock true
    kill "$(cat "$BATS_TEST_TMPDIR/left")"
}

@test "results are not dropped by a command line that is wrong, or amid another run" {
    echo kept >build/every-patch.results
    run -2 ci/every-patch.sh --forget --no-such-option
    same "$(cat build/every-patch.results)" kept
    exec 7>build/.lock
    flock 7
    run -1 ci/every-patch.sh --forget 7>&-
    same "$(cat build/every-patch.results)" kept
}

@test "a program that is missing is one line" {
    local bin=$BATS_TEST_TMPDIR/bin name
    mkdir "$bin"
    for name in bash sh dirname basename env cat; do
        ln -s "$(type -P $name)" "$bin"
    done
    PATH=$bin run -1 /usr/bin/python3 ci/checkpatch.py
    one_line 'perl'
    printf 'VERSION_CODENAME=tiny\n' >os-release
    PATH=$bin run -1 /usr/bin/python3 ci/helpers/apt_private.py deb tiny apt-get source x
    one_line "apt"
}

@test "a signal is one line" {
    printf '#!/bin/sh\necho $$ >%s/qemu\nexec sleep 600\n' "$BATS_TEST_TMPDIR" >qemu
    chmod +x qemu
    ci/boot.py ./qemu 2>err 3>&- &
    pid=$!
    eventually [ -s "$BATS_TEST_TMPDIR/qemu" ]
    kill -TERM $pid
    status=0
    wait $pid || status=$?
    same "$status" 1
    same "$(cat err)" 'boot.py: error: interrupted'
    # and its QEMU is gone
    run -1 kill -0 "$(cat "$BATS_TEST_TMPDIR/qemu")"
    run -2 ci/boot.py --timeout 0 ./qemu
    one_line 'timeout'
}
