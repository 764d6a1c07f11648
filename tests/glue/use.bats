#!/usr/bin/env bats
# Every command: --help, unknown options, options without their value.

load helper

COMMANDS=(configure-wrapper.sh ci/apply.sh ci/base.sh ci/bench
    ci/boot.py
    ci/build.sh ci/check ci/checkpatch.py ci/deps.sh ci/docs.sh ci/every-patch.sh
    ci/export.sh ci/hosts.sh ci/lab
    ci/lint.py ci/mail.py ci/mutants ci/package.sh ci/peer.sh ci/rebase.sh
    ci/suite.sh ci/syntax.py ci/helpers/apt_private.py ci/helpers/unit_tests.py
    tests/bench/exit_loops.py tests/bench/exits.py tests/bench/guest_net.py
    tests/bench/migration_time.py tests/bench/record_dirty_maps.py
    tests/bench/sync_cost.py tests/bench/untouched_memory.py
    tests/bench/writing_guest.py
    tests/guests/exercise.py tests/guests/faults.py tests/guests/kvmlog.py
    tests/guests/make.sh
    tests/guests/migrate_guest.py tests/guests/quit_migrating.py
    tests/guests/savevm_leak.py tests/guests/soak.py
    tests/libvirt/check.py tests/monitor/check.py)

setup() {
    tiny clone
    cp -a "$MAIN"/tests/{bench,guests,libvirt,monitor} tests
}

# each FUNCTION, with a line of stdin as arguments; all that fail are told.
each() {
    local line bad=0
    while read -r line; do
        # shellcheck disable=SC2086 # several words
        "$1" $line || {
            printf 'with: %s\n' "$line"
            bad=1
        }
    done
    return "$bad"
}

helps() { # COMMAND
    run --separate-stderr "./$1" --help
    same "$status $stderr" '0 ' && same "${lines[0]}" 'examples:' &&
        grep -q "^  .*$1" <<<"$output"
}

refuses_option() { # COMMAND [ARGUMENTS...]
    run --separate-stderr "./$1" --no-such-option "${@:2}"
    same "$status $output" '2 ' && [[ $stderr == *--no-such-option* ]] && [ ! -e build ]
}

wants_value() { # COMMAND OPTION
    run "./$1" "$2" && same "$status" 2 && one_line "$2"
}

refuses_value() { # COMMAND ARGUMENTS... VALUE
    run "./$1" "${@:2}" && same "$status" 2 && says "${*: -1}"
}

# What works with the queue's commits in build/src.
wants_queue() {
    cat <<END
ci/build.sh
ci/export.sh
ci/every-patch.sh
ci/rebase.sh --tarball $TARBALL
ci/checkpatch.py
ci/mail.py alpha
END
}

says_what_to_run() { # COMMAND [ARGUMENTS...]
    run "./$1" "${@:2}" && same "$status" 1 && one_line 'run '
}

waits() { # COMMAND [ARGUMENTS...]
    run timeout 300 "./$1" "${@:2}" 9>&- && same "$status" 1 && one_error 'another run works in build/'
}

@test "the commands below are all there are" {
    # What a guest or a host runs as its init is none.
    have=$(find configure-wrapper.sh ci ci/helpers tests/* -maxdepth 1 -type f -perm -u+x ! -name 'init*' ! -name metal | sort)
    same "$have" "$(printf '%s\n' "${COMMANDS[@]}" | sort)"
}

@test "--help of each command shows an example first and ends with 0" {
    printf '%s\n' "${COMMANDS[@]}" | each helps
}

@test "an unknown option of any command ends with 2, is named, and nothing is done" {
    # Some of them want arguments beside it.
    printf '%s\n' "${COMMANDS[@]}" | sed -e 's/apt_private.py/& deb sid apt-get/' \
        -e 's/boot.py/& ci\/pins/' -e 's/mail.py/& alpha/' -e 's/unit_tests.py/& build build\/passed/' | each refuses_option
}

@test "what is left over behind --check is refused" {
    run -2 ci/export.sh --check --no-such-option
    one_line --no-such-option
}

@test "an option without its value ends with 2 and one line" {
    each wants_value <<'END'
configure-wrapper.sh --topic
configure-wrapper.sh --profile
configure-wrapper.sh --tarball
configure-wrapper.sh --distfiles
ci/base.sh --tarball
ci/base.sh --distfiles
ci/apply.sh --variant
ci/build.sh --variant
ci/build.sh --profile
ci/build.sh --target
ci/deps.sh --profile
ci/every-patch.sh --topic
ci/every-patch.sh --minutes
ci/mutants --minutes
ci/rebase.sh --tarball
ci/rebase.sh --topic
ci/rebase.sh --show
ci/suite.sh --as
ci/suite.sh --profile
tests/bench/sync_cost.py --csv
tests/guests/migrate_guest.py --path
tests/guests/soak.py --variant
tests/guests/soak.py --minutes
tests/guests/soak.py --seed
END
}

@test "a variant, profile, topic, rule or stage that is not there ends with 2" {
    each refuses_value <<'END'
configure-wrapper.sh --topic gamma
configure-wrapper.sh --profile gamma
ci/apply.sh --variant gamma
ci/build.sh --variant gamma
ci/every-patch.sh --topic gamma
ci/every-patch.sh --minutes 0
ci/mutants --minutes 0
ci/deps.sh --profile gamma
ci/rebase.sh --tarball ci/pins --topic gamma
ci/rebase.sh --tarball gamma
ci/rebase.sh --tarball ci/pins --show gamma
ci/suite.sh trixie --as gamma
ci/suite.sh trixie --profile gamma
ci/suite.sh gamma
ci/checkpatch.py --topic gamma
ci/syntax.py --topic gamma
ci/mail.py gamma
ci/lint.py --rule gamma
ci/lint.py --root gamma
ci/check --only gamma
ci/boot.py gamma
tests/bench/exit_loops.py --gaps 0 -1
tests/bench/exits.py --timeout gamma
tests/bench/guest_net.py --size 15
tests/bench/migration_time.py --rate 0
tests/bench/migration_time.py --variant gamma
tests/bench/record_dirty_maps.py --interval nan
tests/bench/sync_cost.py --runs 0
tests/bench/sync_cost.py --variant gamma
tests/guests/exercise.py --only gamma
tests/guests/faults.py --variant gamma
tests/guests/migrate_guest.py --hops 0
tests/guests/migrate_guest.py --path gamma
tests/libvirt/check.py --emulator gamma
tests/guests/soak.py --variant gamma
tests/guests/soak.py --minutes 0
tests/guests/soak.py --minutes nan
tests/guests/soak.py --seed gamma
END
    run -2 ci/apply.sh --variant topic-gamma
    one_line "no topic 'gamma' in series; it has: alpha beta"
}

@test "what can be listed is listed" {
    run -0 --separate-stderr ci/check --list
    says glue
    run -0 --separate-stderr ci/lint.py --list
    says body_width
}

@test "before there is a base each command says what to run" {
    (echo ci/apply.sh && wants_queue) | each says_what_to_run
}

@test "before the queue is applied each command says what to run" {
    ci/base.sh --tarball "$TARBALL"
    before=$(sum patches series)
    wants_queue | each says_what_to_run
    same "$(sum patches series)" "$before"
}

@test "only one of them works in build/ at a time" {
    mkdir build
    exec 9>build/.lock
    flock -n 9
    waits configure-wrapper.sh --no-deps
    waits ci/base.sh --tarball "$TARBALL"
}

@test "only one of them works in build/src at a time" {
    cp -a "$FIXTURES/applied/build" .
    exec 9>build/.lock
    flock -n 9
    each waits <<END
ci/apply.sh
ci/export.sh
ci/every-patch.sh
ci/rebase.sh --tarball $TARBALL
END
}

@test "the tools find themselves whatever CDPATH says" {
    mkdir -p "$BATS_TEST_TMPDIR/elsewhere/ci"
    CDPATH=$BATS_TEST_TMPDIR/elsewhere run -0 --separate-stderr ci/apply.sh --dry-run
    same "$output" "$(grep -v '^#' series)"
}

@test "the tools work in a folder with a blank and a quote in its name" {
    cp -a "$REPO" "$BATS_TEST_TMPDIR/it's here"
    cd "$BATS_TEST_TMPDIR/it's here"
    ci/base.sh --tarball "$TARBALL"
    ci/apply.sh
    run -0 ci/export.sh --check
    [ -z "$(find build -maxdepth 1 -name '*.??????')" ]
}
