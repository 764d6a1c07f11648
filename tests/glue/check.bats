#!/usr/bin/env bats
# ci/check: the order of stages, what it counts, and its end.  What the stages
# run is replaced by programs of a line or two.

load helper

setup() {
    tiny applied
    mkdir -p tests/queue tests/glue
    export STEPS=$BATS_TEST_TMPDIR/steps
    : >"$STEPS"
}

# becomes FILE LINE...: a shell script in FILE's place
becomes() {
    printf '#!/bin/bash\n' >"$1"
    printf '%s\n' "${@:2}" >>"$1"
    chmod +x "$1"
}

# waits_for WHAT: a line of shell that returns once another stage has done WHAT
waits_for() {
    echo "until grep -q '$1' $STEPS; do sleep 0.05; done"
}

@test "each stage says how it went, how long it took and how many cores it used" {
    becomes ci/checkpatch.py 'i=0; while [ $i -lt 200000 ]; do i=$((i + 1)); done'
    run -0 --separate-stderr ci/check --only lint --only checkpatch
    same "$output" '2 passed, 0 failed, 0 skipped'
    [[ $stderr =~ 'lint: 1 passed, 0 failed, 0 skipped, '[0-9]+' s (log: build/check/lint.log)' ]]
    [[ $stderr =~ $'\n'checkpatch' '+[0-9]+' s '+[0-9]+' s '+[0-9]\.[0-9] ]]
    # A loop of the shell keeps a core busy.
    [[ ! $stderr =~ $'\n'checkpatch' '+[0-9]+' s '+[0-9]+' s '+0\.0 ]]
    grep -q '^\[exit 0, [0-9.]* s\]$' build/check/checkpatch.log
}

@test "a stage that fails, and what it said" {
    becomes ci/checkpatch.py 'echo "error: it is wrong"' 'exit 1'
    run -1 --separate-stderr ci/check --only lint --only checkpatch
    says 'failed: checkpatch: ci/checkpatch.py: error: it is wrong'
    says '1 passed, 1 failed, 0 skipped'
}

@test "two stages at a time, each behind the one that it needs" {
    # Each waits for the other one.
    becomes ci/mail.py "echo mail >>$STEPS"
    becomes ci/package.sh "$(waits_for docs)" "echo package >>$STEPS" 'exit 1'
    becomes ci/docs.sh "echo docs >>$STEPS" "$(waits_for package)"
    run -1 timeout 60 ci/check --only package --only docs
    says 'failed: package:'
    says '1 passed, 1 failed'
    becomes ci/base.sh 'sleep 1' "echo base >>$STEPS" 'exit 1'
    becomes ci/docs.sh "grep -q base $STEPS"
    run -1 timeout 60 ci/check --only docs --only apply
    says '1 passed, 1 failed'
}

@test "--one-by-one is one stage at a time" {
    becomes ci/package.sh "echo begin >>$STEPS" 'sleep 1' "echo end >>$STEPS" 'exit 1'
    becomes ci/docs.sh "[ \"\$(grep -c begin $STEPS)\" = \"\$(grep -c end $STEPS)\" ]"
    run -1 ci/check --one-by-one --only docs --only package
    says '1 passed, 1 failed'
}

@test "every-patch has what is left of the hour" {
    becomes ci/every-patch.sh "echo \"\$@\" >>$STEPS"
    run -1 ci/check --only every-patch
    same "$(cat "$STEPS")" '--keep-going --minutes 30'
}

@test "what it runs ends with it" {
    becomes ci/docs.sh "sleep 600 & echo \$! >>$STEPS" 'wait'
    becomes ci/package.sh "sleep 600 & echo \$! >>$STEPS" 'wait'
    ci/check --only docs --only package 2>"$BATS_TEST_TMPDIR/err" 3>&- &
    check=$!
    until [ "$(wc -l <"$STEPS")" = 2 ]; do sleep 0.05; done
    kill -TERM $check
    status=0
    wait $check || status=$?
    same "$status" 1
    grep -q 'check: error: interrupted' "$BATS_TEST_TMPDIR/err"
    # Gone, or not yet reaped by whoever inherited them
    while read -r pid; do
        for _ in {1..200}; do
            [ -e "/proc/$pid/stat" ] && ! grep -q ') Z' "/proc/$pid/stat" || continue 2
            sleep 0.05
        done
        false
    done <"$STEPS"
}

@test "one run at a time" {
    exec 7>build/.lock
    flock 7
    run -1 ci/check --only lint
    one_error 'another run works in build/'
}
