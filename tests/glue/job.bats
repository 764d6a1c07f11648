#!/usr/bin/env bats
# tests/lab: what a job makes of its guests and tests, with a QEMU that runs none

load helper

setup() {
    L1=$BATS_TEST_TMPDIR/l1
    mkdir -p "$L1"/{job,t,out,g,qemu/bin}
    sed -E "s,/(job|t|out|g|qemu)/,$L1/\1/,g" "$MAIN/tests/lab/lib.sh" >"$L1/job/lib.sh"
    printf '%s\n' "KNOWS=''" NPT=1 NESTED=0 ICOUNT=1 >"$L1/job/env"
    mkdir "$L1/bin"
    printf '#!/bin/sh\nexec sleep 0.0"$1"\n' >"$L1/bin/usleep"
    chmod +x "$L1/bin/usleep"
    # What it says at the debug port, and how it ends
    guest_says="echo done >\$port" quit_status=0
}

# qemu: a QEMU with a monitor, a debug port and nothing else
qemu() {
    cat >"$L1/qemu/bin/qemu-system-x86_64" <<END
#!/bin/bash
for arg; do
    case \$arg in *path=$L1/out/*/port) port=\${arg##*path=} ;; esac
done
exec >$L1/t/mon.out <$L1/t/mon.in
while read -r line; do
    case \$line in
    'print 4711+1') echo 0x1268 ;;
    cont) $guest_says ;;
    'info status') echo 'VM status: running' ;;
    'info exit-clusters'*) echo '5 exits, 4 runs, 3 completed, 20 exits saved' ;;
    quit) exit $quit_status ;;
    esac
done
END
    chmod +x "$L1/qemu/bin/qemu-system-x86_64"
}

# job: with stdin as its lines; as init runs it
job() {
    {
        echo ". $L1/job/lib.sh"
        sed -E "s,/(job|t|out|g|qemu)/,$L1/\1/,g"
    } >"$L1/job/run.sh"
    qemu
    sed -n "s,^sh /job/,PATH=$L1/bin:\$PATH sh $L1/job/,p" "$MAIN/tests/lab/metal" >"$L1/metal"
    run -0 sh "$L1/metal"
}

@test "job: one that does not end well fails" {
    job <<<'ok "it runs"
finished'
    same "$output" $'LAB: ok it runs\nLAB: 1..1'
    job <<<'ok "it runs"
kill -9 $$'
    says 'LAB: not ok the job ends well (status 137)'
    job <<<'ok "it runs"
if true; then'
    says 'LAB: not ok the job ends well (status 2)'
}

@test "job: cases of subshells are counted, too" {
    job <<<'echo "guest runs" | while read -r line; do
    check "$line" true
    check "$line" false
done
say "# a remark"
finished'
    says 'LAB: 1..2'
}

# RUN: a job with one guest
RUN='run guest raw 2 port "^done"
finished'

@test "job: a QEMU that crashes when it is told to quit fails" {
    job <<<"$RUN"
    says "LAB: ok guest raw traced: comes to '^done'"
    never_says 'not ok'
    quit_status='$(kill -SEGV $$)'
    job <<<"$RUN"
    says 'LAB: not ok guest raw: QEMU ends well (it has status 139)'
    quit_status=1
    job <<<"$RUN"
    says 'LAB: not ok guest raw: QEMU ends well (it has status 1)'
}

@test "job: on a host only what its KVM can't do is skipped" {
    echo METAL=1 >>"$L1/job/env"
    guest_says='echo "KVM internal error. Suberror: 1" >&2'
    job <<<"$RUN"
    says "LAB: ok guest comes to '^done' # SKIP it doesn't on this host's KVM"
    says 'LAB: 1..1'
    guest_says=:
    job <<<"$RUN"
    says "LAB: not ok guest raw traced: comes to '^done'"
    guest_says='echo "KVM internal error. Suberror: 1" >&2; exit 1'
    job <<<"$RUN"
    says "LAB: not ok guest raw traced: comes to '^done'"
    never_says SKIP
}

# qtests: a job with a test of QEMU's, which prints stdin
qtests() { # ARGS...
    { printf '#!/bin/sh\ncat <<END\n' && cat && echo END; } >"$L1/qemu/bin/ram-test"
    chmod +x "$L1/qemu/bin/ram-test"
    job <<<"qtest ram-test $*
finished"
}

@test "job: a qtest has to run all its cases, and each that is named" {
    local two=$'1..2\nok 1 /ram/one/full\nok 2 /ram/two # SKIP no swap'
    qtests -p /ram/one -p /ram/two <<<"$two"
    says 'LAB: ok /ram/one/full'
    says 'LAB: 1..2'
    never_says 'not ok'
    qtests -p /ram/one -p /ram/three <<<"$two"
    says 'LAB: not ok ram-test runs /ram/three (it has no such case)'
    # It ends amid them, with status 0.
    qtests <<<$'1..9\nok 1 /ram/one'
    says 'LAB: not ok ram-test runs all its cases (1 of 9)'
    qtests <<<'ok 1 /ram/one'
    says 'LAB: not ok ram-test runs all its cases (1 of no plan)'
    qtests -p /ram/three <<<'1..0'
    says 'LAB: not ok ram-test runs all its cases (0 of 0)'
    # A host's KVM may have no ring.
    echo METAL=1 >>"$L1/job/env"
    qtests -p /ram/one -p /ram/kvm-ring <<<$'1..1\nok 1 /ram/one'
    says 'LAB: ok ram-test runs /ram/kvm-ring # SKIP it has no such case on this host'
}

@test "job: clusters that save nothing fail where exits are expected to be saved" {
    local two=$'run guest on 2 port "^done"\nclustered 20\nrun guest off 2 port "^done"\nclustered 20\nfinished'
    job <<<"$two"
    says 'LAB: ok guest on traced: at least 20 exits are saved (20)'
    says 'LAB: 1..3'
    job <<<"${two//20/21}"
    says 'LAB: not ok guest on traced: at least 21 exits are saved (20)'
    # In another time than the lab's nobody knows.
    sed -i s/ICOUNT=1/ICOUNT=0/ "$L1/job/env"
    job <<<"$two"
    says 'LAB: 1..2'
}
