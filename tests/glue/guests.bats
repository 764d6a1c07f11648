#!/usr/bin/env bats
# tests/guests/make.sh, where a kernel was fetched before: what it makes anew.

load helper

setup() {
    tiny clone
    cp -a "$MAIN/tests/guests" tests
    mkdir -p build/guests/modules
    for name in vmlinuz modules/order initramfs.gz ramwriter pagewriter exitloops \
        slowwriter fastwriter repwriter pairwriter stallwriter idler; do
        echo old >"build/guests/$name"
    done
    echo linux-image-1 >build/guests/kernel
    for shim in kvmshim exitshim; do
        echo old >"build/guests/$shim.so"
    done
    MADE=$BATS_TEST_TMPDIR/made
    : >"$MADE"
    # A compiler whose output has the size that is wanted.
    stub cc <<END
#!/bin/bash
echo "cc \$*" >>$MADE
while [ "\$1" != -o ]; do shift; done
echo new >"\$2"
END
    stub ld <<'END'
#!/bin/bash
case $* in *0xf0000*) size=65536 ;; *) size=512 ;; esac
while [ "$1" != -o ]; do shift; done
truncate -s $size "$2"
END
    printf '#!/bin/sh\n' | stub busybox
    stub cpio <<<'#!/bin/sh
cat'
}

# up_to_date: as another run leaves it that made them of these sources
up_to_date() {
    local here=tests/guests
    cat $here/init $here/*.[chS] $here/*.inc $here/make.sh build/guests/kernel |
        sha256sum >build/guests/key
}

@test "guests: what changed is made, and a second run makes nothing" {
    run -0 tests/guests/make.sh
    same "$(cat build/guests/kvmshim.so)" new
    : >"$MADE"
    run -0 tests/guests/make.sh
    says 'guest: linux-image-1 in build/guests'
    same "$(cat "$MADE")" ''
}

@test "guests: a library that a QEMU has loaded is replaced, not written to" {
    ln build/guests/kvmshim.so "$BATS_TEST_TMPDIR/loaded"
    run -0 tests/guests/make.sh
    same "$(cat "$BATS_TEST_TMPDIR/loaded")" old
    same "$(cat build/guests/kvmshim.so)" new
}

waits_or_makes() {
    grep -q -e "-> FLOCK .*:$inode " /proc/locks || [ -s "$MADE" ]
}

@test "guests: two runs at once: one waits, and finds what the other made" {
    exec 7>build/guests/.lock
    flock 7
    tests/guests/make.sh 3>&- 7>&- &
    pid=$!
    # Until it waits for the lock; without one it makes them.
    inode=$(stat -c %i build/guests/.lock)
    eventually waits_or_makes
    up_to_date
    exec 7>&-
    wait $pid
    same "$(cat "$MADE")" ''
}

@test "guests: a run that waits for another one says so" {
    sed -i 's/flock -w 5/flock -w 0.1/' tests/guests/make.sh
    exec 7>build/guests/.lock
    flock 7
    tests/guests/make.sh 2>"$BATS_TEST_TMPDIR/err" 3>&- 7>&- &
    pid=$!
    eventually grep -qs 'waiting for another run of make.sh' "$BATS_TEST_TMPDIR/err"
    exec 7>&-
    wait $pid
}

@test "exercise: what QEMU can't do is skipped, and nothing else" {
    run -0 env PYTHONPATH=tests/guests /usr/bin/python3 - <<'END'
import types
import exercise

for said in ("Background-snapshot is not supported by host kernel",
             "Parameter 'capability' does not accept value 'x'",
             "Background-snapshot is not compatible with multifd",
             "Disconnected"):
    def cmd(*_, **__):
        raise RuntimeError(said)
    guest = types.SimpleNamespace(vm=types.SimpleNamespace(cmd=cmd))
    try:
        exercise.capability(guest, "x")
    except Exception as err:
        print(type(err).__name__)
END
    same "$output" 'Skip
Skip
RuntimeError
RuntimeError'
}

@test "kvmlog: a round that doesn't begin is told of" {
    run -0 timeout 60 env PYTHONPATH=tests/guests /usr/bin/python3 - <<'END'
import threading
import types
import kvmlog

kvmlog.PATIENCE = 0.2
kvmlog.wait_writes = lambda *_: None
relay = object.__new__(kvmlog.Relay)
relay.allowed, relay.changed = 0, threading.Condition()
relay.source = types.SimpleNamespace(
    status=lambda: "active",
    vm=types.SimpleNamespace(cmd=lambda _: {"ram": {"dirty-sync-count": 3}}))
try:
    relay.next_round()
except kvmlog.Wrong as wrong:
    print(wrong)
END
    same "$output" "round 4 does not begin: {'ram': {'dirty-sync-count': 3}}"
}
