#!/usr/bin/env bats
# ci/every-patch.sh and ci/hosts.sh: what they take for a pass; builds are fake.

load helper

setup() {
    tiny applied
    cat >ci/build.sh <<'END'
#!/bin/sh
# With a test that prints the file "tap"
mkdir -p build/every.d/obj/tests/qtest
printf '#!/bin/sh\ncat %s/tap\n' "$PWD" >build/every.d/obj/tests/qtest/ram-test
chmod +x build/every.d/obj/tests/qtest/ram-test
END
    printf '#!/bin/sh\n' >ci/helpers/unit_tests.py
    last=$(sed -n 's/^# topic: //p' series | tail -n 1)
    echo 'ram-test' >"patches/$last/tests"
    printf '1..2\nok 1 /a\nok 2 /b # SKIP none\n' >tap
}

@test "every-patch: a topic's tests have to run all their cases" {
    local tap
    for tap in '1..0' '1..5\nok 1 /a' 'ok 1 /a' '1..2\nok 1 /a\nnot ok 2 /b'; do
        printf '%b\n' "$tap" >tap
        run -1 ci/every-patch.sh
        says 'FAIL: '
    done
    says 'error: not ok 2 /b'
    printf '1..0 # SKIP no KVM\n' >tap
    run -0 ci/every-patch.sh
}

@test "every-patch: a result is of the topic's tests, the build and the compiler" {
    run -0 ci/every-patch.sh
    run -0 ci/every-patch.sh
    never_says '] pass: '
    # Only the last commit has to do with the topic's tests.
    echo 'ram-test -p /a' >"patches/$last/tests"
    run -0 ci/every-patch.sh
    same "$(grep -c '] pass: ' <<<"$output")" 1
    echo '# other options' >>ci/build.sh
    run -0 ci/every-patch.sh
    never_says 'passed before'
    stub cc <<<'#!/bin/sh
echo cc 99'
    run -0 ci/every-patch.sh
    never_says 'passed before'
}

@test "hosts: a program has to run all its cases" {
    local tap
    mkdir -p build/src/tests/unit
    printf '#!/bin/sh\n' >build/src/configure
    chmod +x build/src/configure
    : >build/src/tests/unit/test-dirty-map.c
    # A compiler whose programs print the file "tap"
    stub clang <<END
#!/bin/sh
while [ "\$1" != -o ]; do shift; done
printf '#!/bin/sh\ncat $PWD/tap\n' >"\$2"
chmod +x "\$2"
END
    run -0 ci/hosts.sh --no-deps --host clang
    says 'ok 1 - test-dirty-map, clang'
    for tap in '' '1..0' '1..5\nok 1 /a'; do
        printf '%b\n' "$tap" >tap
        run -1 ci/hosts.sh --no-deps --host clang
        says 'not ok 1 - test-dirty-map, clang'
    done
    says '# error: 4 of 5 cases were not run'
}
