#!/usr/bin/env bats
# ci/bench: what it makes of numbers; it measures nothing here.

load helper

setup() {
    tiny clone
    RESULTS=build/bench/quick
}

# measured NAME LINE...: as if it had been measured
measured() {
    mkdir -p "$RESULTS"
    {
        printf '# %s\n' 'cpu: Thing 3000' 'cpus: 2' 'hypervisor: yes' \
            'kernel: 6.18.1-1-amd64' 'kvm: kvm_thing' 'tree: 0123456789ab' \
            'date: 2026-01-02'
        echo 'case,variant,value,unit'
        printf '%s\n' "${@:2}"
    } >"$RESULTS/$1.csv"
    echo 'measured: these builds' >"$RESULTS/$1.status"
}

sync_measured() {
    measured sync '"64 GiB, tcg",pristine,3,ms' '"64 GiB, tcg",pristine,2,ms' \
        '"64 GiB, tcg",pristine,4,ms' '"64 GiB, tcg",patched,0.5,ms'
}

@test "bench: --list names the experiments" {
    run -0 ci/bench --list
    for name in sync sync-size writing dirty-maps receive instructions exits loops; do
        says "$name "
    done
}

@test "bench: an unknown experiment, or two lengths, is wrong use" {
    run -2 ci/bench --only everything
    says "invalid choice: 'everything'"
    run -2 ci/bench --quick --full
    says 'not allowed with'
}

@test "bench: without results there is no table, but what to do" {
    run -1 ci/bench --table
    says 'nothing was measured yet: run ci/bench --quick'
    run -1 ci/bench --readme
    says 'nothing was measured yet: run ci/bench --quick'
}

@test "bench: the table has medians, spread and ratio, and says what failed" {
    sync_measured
    echo 'failed: it fell over' >"$RESULTS/receive.status"
    echo 'skipped: no /dev/kvm that can be used' >"$RESULTS/exits.status"
    run -0 ci/bench --quick --table
    golden bench.rst
}

@test "bench: of the RAM sizes the table has the largest, and what was skipped" {
    measured sync-size '"4 GiB, tcg",pristine,3,ms' \
        '"4 GiB, tcg",patched,1,ms' '"512 GiB, tcg, first",pristine,90,ms' \
        '"512 GiB, tcg",pristine,9,ms' '"512 GiB, tcg",patched,1.5,ms' \
        '"4 GiB, kvm",pristine,8,ms' '"4 GiB, kvm",patched,4,ms' \
        '"512 GiB, kvm",skipped,,Cannot allocate memory' \
        '"16 GiB, 64 MiB dirty, kvm",pristine,5,ms' \
        '"16 GiB, 64 MiB dirty, kvm",patched,5,ms' \
        '"512 GiB, kvm, 2 CPUs run",pristine,8,ms' \
        '"512 GiB, kvm, 2 CPUs run",patched,4,ms' \
        '"512 GiB, kvm, 2 CPUs run, without the kernel'"'"'s part",pristine,6,ms' \
        '"512 GiB, kvm, 2 CPUs run, without the kernel'"'"'s part",patched,1,ms' \
        '"512 GiB, kvm, 2 CPUs run, first",pristine,90,ms' \
        '"512 GiB, kvm, 2 CPUs run, first",patched,9,ms'
    run -0 ci/bench --quick --table
    golden bench-sync-size.rst
}

@test "bench: the results get all rows, README its own between its marks" {
    sync_measured
    measured sync-size '"512 GiB, tcg",pristine,9,ms' '"512 GiB, tcg",patched,1.5,ms'
    printf '%s\n' before '.. ci/bench --readme writes from here' old \
        '.. to here' after >README.rst
    run -0 ci/bench --readme
    same "$(head -n 1 README.rst) $(tail -n 1 README.rst)" 'before after'
    grep -q 'Dirty sync of an idle guest' tests/bench/results/README.rst
    run -1 grep 'Dirty sync of an idle guest' README.rst
    grep -q 'RAM size: 512 GiB, tcg' README.rst
    grep -q '6.00x' README.rst
    run -1 grep old README.rst
    run -0 ci/bench --readme
    same "$(grep -c 6.00x README.rst)" 1
}

# tree_of VERSION: what ci/bench says was measured
tree_of() {
    mkdir -p build/patched
    printf '#!/bin/sh\necho "QEMU emulator version 10.2.2 (%s)"\n' "$1" \
        >build/patched/qemu-system-x86_64
    chmod +x build/patched/qemu-system-x86_64
    run -0 /usr/bin/python3 -c 'if True:
        import sys
        from importlib import machinery, util
        sys.path.insert(0, "ci")
        loader = machinery.SourceFileLoader("bench", "ci/bench")
        bench = util.module_from_spec(util.spec_from_loader("bench", loader))
        loader.exec_module(bench)
        print(bench.machine()["tree"])'
}

@test "bench: the tree is the one that the measured QEMU was built from" {
    tree_of 'qemu-thrift, queue 0123456789ab'
    same "$output" 0123456789ab
    tree_of 'Debian 1:10.2.2+ds-1'
    same "$output" unknown
}

@test "bench: a README without marks is left as it is" {
    sync_measured
    echo mine >README.rst
    run -1 ci/bench --readme
    says "README.rst has to have"
    same "$(cat README.rst)" mine
}

@test "a tool that is ended cleans up, and says so in one line" {
    cat >"$BATS_TEST_TMPDIR/tool.py" <<END
import sys, time
sys.path.insert(0, "$REPO/ci")
from lib import tool

def main():
    try:
        print("begins", flush=True)
        time.sleep(600)
    finally:
        print("cleans up", flush=True)

tool.run_main(main)
END
    /usr/bin/python3 "$BATS_TEST_TMPDIR/tool.py" &>said 3>&- &
    eventually grep -q begins said
    kill $!
    code=0
    wait $! || code=$?
    same "$code" 1
    same "$(<said)" $'begins\ncleans up\ntool.py: error: interrupted'
}

@test "bench: a peer of Debian's has rows of its own, or a reason" {
    mkdir -p build/peer-sid build/peer-trixie
    touch build/peer-{sid,trixie}/qemu-system-x86_64
    cat >printed <<'END'
some words
variant,accel,guest,size_kib,run,sync,us,qemu_us,bitmap_us,dirty_mib,running,kernel,version,skipped
pristine,tcg,even,67108864,0,0,9000,9000,1,0,0,6.18,v,
pristine,tcg,even,67108864,0,1,3000,3000,1,0,0,6.18,v,
peer-trixie,tcg,even,67108864,0,1,5000,5000,1,0,0,6.18,v,
patched,tcg,even,67108864,0,1,500,500,1,0,0,6.18,v,
peer-sid,tcg,,67108864,,,,,,0,0,6.18,v,it has no such thing
pristine,kvm,,67108864,,,,,,0,0,6.18,v,no ring
END
    run -0 /usr/bin/python3 -c 'if True:
        import sys
        sys.path.insert(0, "ci")
        from lib.experiments import Sync
        sync = Sync()
        rows = sync.parse(open("printed").read())
        for line in sync.summary(rows):
            print(*line, sep=" | ")
        for line in sync.beside(rows, ["peer-sid", "peer-trixie"]):
            print(*line, sep=" | ")'
    same "$output" "\
Dirty sync of an idle guest: 64 GiB, tcg | 3.00 ms | 0.50 ms | 6.00x
Dirty sync of an idle guest: 64 GiB, kvm | skipped: no ring |  | 
Dirty sync of an idle guest: 64 GiB, tcg | skipped: it has no such thing | 5.00 ms | 3.00 ms | 0.50 ms"
}

@test "bench: a writing guest's stages and stalls are in the table" {
    cat >printed <<'END'
kvm, 64 GiB, 100 MiB/s, with nothing
stores, rounds, pages/s           25600.000 (1.000-25600.000) 25600.000 (1.000-2.000)
accel,with,size_gib,rate_mib,variant,run,what,value,unit
kvm,nothing,64,100,pristine,0,sync,4,ms
kvm,nothing,64,100,pristine,0,pages dirty,16384,pages
kvm,nothing,64,100,pristine,0,clears,3,ms
kvm,nothing,64,100,pristine,0,"clears, number",2,
kvm,nothing,64,100,patched,0,sync,2,ms
kvm,nothing,64,100,patched,0,pages dirty,16384,pages
kvm,nothing,64,100,patched,0,clears,3,ms
kvm,nothing,64,100,patched,0,"clears, number",2,
accel,with,size_gib,rate_mib,variant,run,what,value,unit
tcg,vhost,8,100,pristine,0,"spinner stands still at most, rounds",9,ms
tcg,vhost,8,100,patched,0,"spinner stands still at most, rounds",3,ms
tcg,vhost,8,100,pristine,0,"spinner has no CPU, rounds",9,ms/s
tcg,vhost,8,100,patched,0,"spinner has no CPU, rounds",3,ms/s
END
    run -0 /usr/bin/python3 -c 'if True:
        import sys
        sys.path.insert(0, "ci")
        from lib.experiments import Writing
        writing = Writing()
        for line in writing.summary(writing.parse(open("printed").read())):
            print(*line, sep=" | ")'
    same "$output" "\
Guest that writes: 64 GiB, 100 MiB/s, kvm: sync | 4.00 ms | 2.00 ms | 2.00x
Guest that writes: 64 GiB, 100 MiB/s, kvm: clears | 3.00 ms | 3.00 ms | 1.00x
Guest that writes: 8 GiB, 100 MiB/s, tcg, vhost: spinner stands still at most, rounds | 9.00 ms | 3.00 ms | 3.00x"
}

@test "bench: a ratio is below 1 where ours is worse, also if more is better" {
    measured guest-net 'a,pristine,4,ns/byte' 'a,patched,2,ns/byte' \
        'b,pristine,200,Mbit/s' 'b,patched,100,Mbit/s'
    measured writing '"8 GiB: stores, rounds",pristine,100,pages/s' \
        '"8 GiB: stores, rounds",patched,300,pages/s' \
        '"8 GiB: writer stands still, rounds",pristine,100,ms/s' \
        '"8 GiB: writer stands still, rounds",patched,300,ms/s'
    run -0 ci/bench --quick --table
    says '4.00 ns/byte,2.00 ns/byte,2.00x'
    says '200 Mbit/s,100 Mbit/s,0.50x'
    says '100 pages/s,300 pages/s,3.00x'
    says '100 ms/s,300 ms/s,0.33x'
}

@test "bench: results of their own have plots of their own" {
    sync_measured
    echo '<svg>quick</svg>' >"$RESULTS/sync.svg"
    printf '%s\n' '.. ci/bench --readme writes from here' '.. to here' >README.rst
    run -0 ci/bench --readme
    cp -a "$RESULTS" build/bench/full
    echo '<svg>full</svg>' >build/bench/full/sync.svg
    run -0 ci/bench --full --readme --only sync
    for kind in '' -full; do
        page=sync
        [ -n "$kind" ] || page=README
        grep -qx ".. image:: plots/sync$kind.svg" "tests/bench/results/$page.rst"
    done
    same "$(cat tests/bench/results/plots/sync.svg)" '<svg>quick</svg>'
    same "$(cat tests/bench/results/plots/sync-full.svg)" '<svg>full</svg>'
}

@test "bench: the peers have a table of their own" {
    measured exits 'post,pristine,7000,exits' 'post,on,1000,exits' \
        'post,peer-sid,7300,exits'
    measured migration '"1 pages/s, rounds",pristine,4,rounds' \
        '"1 pages/s, rounds",patched,3,rounds' \
        '"1 pages/s, rounds",peer-trixie,5,rounds' \
        '"1 pages/s, peer-sid",skipped,,it fell over'
    run -0 ci/bench --quick --table
    golden bench-peers.rst
}

@test "bench: what was measured without a peer is measured again with it" {
    run -0 /usr/bin/python3 -c 'if True:
        import sys
        sys.path.insert(0, "ci")
        from lib.experiments import Loops, Sync
        print(Sync().estimate(0), Loops().estimate(0))'
    same "$output" '2 2'
    mkdir -p build/{pristine,patched,peer-sid}
    for name in pristine patched peer-sid; do
        printf '#!/bin/sh\necho %s\n' "$name" >"build/$name/qemu-system-x86_64"
        chmod +x "build/$name/qemu-system-x86_64"
    done
    run -0 /usr/bin/python3 -c 'if True:
        import importlib.machinery, importlib.util, sys
        sys.path.insert(0, "ci")
        loader = importlib.machinery.SourceFileLoader("bench", "ci/bench")
        spec = importlib.util.spec_from_loader("bench", loader)
        bench = importlib.util.module_from_spec(spec)
        loader.exec_module(bench)
        from lib.experiments import Loops, Sync
        print(bench.builds_ids()[Sync.with_peers])
        print(bench.builds_ids()[Loops.with_peers])
        print(Sync().estimate(0), Loops().estimate(0))'
    same "$output" $'pristine patched peer-sid\npristine patched\n3 2'
}

@test "bench: what others reported stands beside what was measured" {
    measured dirty-maps '"512 MiB, cond1 contiguous",bytemap,200,us' \
        '"512 MiB, cond1 contiguous",flat,10,us' \
        '"512 MiB, cond1 contiguous",map,2,us'
    measured exits 'post,pristine,7000,exits' 'post,on,1000,exits' \
        'ipxe,skipped,,KVM says no'
    run -0 ci/bench --quick --table
    says ',100x (2010: 5-83x)'
    says "Sync of one client's map, 10.2.2's bitmap and ours: 512 MiB, cond1 contiguous"
    says ',7.00x'
    says ',skipped: KVM says no,'
    says '"Exits, VMware, 2012, as reported: PassMark 2D",'
}

@test "exits.py: a guest that KVM ends is skipped, but not with ours alone" {
    run -0 /usr/bin/python3 - "$MAIN/tests/bench" <<'END'
import sys
sys.path.insert(0, sys.argv[1])
import exits
from lib.tool import Skip, Wrong

class Options:
    runs, timeout, variant = 2, 1, ["pristine", "on"]

for bad in Options.variant:
    def run(variant, *_):
        if variant == bad:
            raise Skip("KVM says no")
    exits.Run = run
    try:
        exits.measure("guest", None, Options)
    except (Skip, Wrong) as err:
        print(type(err).__name__, err)
END
    says 'Skip KVM says no (pristine)'
    says 'Wrong on: KVM says no'
}

# writing LINE...: Python that has writing_guest.py and its options
writing() {
    cp -a "$MAIN"/tests/{bench,guests} tests
    mkdir -p build/guests
    : >build/guests/stallwriter
    printf '%s\n' 'import sys' 'sys.path[:0] = ["tests/bench"]' \
        'import writing_guest as w' \
        'sys.argv[1:] = ["--variant", "/bin/true", "--accel", "tcg"]' "$@" >run.py
    run --separate-stderr python3 run.py
}

@test "bench: a run of a writing guest that goes wrong is left out, and counted" {
    writing 'class Lost(Exception): pass' 'Lost.__module__ = "qemu.qmp"' \
        'runs = []' \
        'def one_run(*args):' \
        '    runs.append(args)' \
        '    if len(runs) == 2: raise Lost("/x/qemu-system-x86_64: it broke")' \
        '    return [("sync", len(runs), "ms")]' \
        'w.one_run = one_run' 'w.run_main(w.main)'
    same "$status" 0
    says $'\n1 of 3 runs were left out:\n  tcg with nothing, 100 MiB/s, /bin/true, run 2: it broke'
    says '2.000 (1.000-3.000)'
    [[ $stderr != *Traceback* ]]
    writing 'def one_run(*args): return {}["no such"]' \
        'w.one_run = one_run' 'w.run_main(w.main)'
    same "$status" 1
    [[ $stderr != *Traceback* ]]
    [[ $stderr == *'error: none of 3 runs could be measured: see above' ]]
}

@test "bench: a QEMU that breaks its monitor is one line, not a traceback" {
    writing 'class Lost(Exception): pass' 'Lost.__module__ = "qemu.qmp"' \
        'def main(): raise Lost("it is gone")' 'w.run_main(main)'
    same "$status" 1
    same "$stderr" 'run.py: error: it is gone'
    # and in one case of a test: the others are run
    writing 'from lib.tool import tap' 'class Lost(Exception): pass' \
        'Lost.__module__ = "qemu.qmp"' 'def lost(): raise Lost("it is gone")' \
        'sys.exit(tap([(lost, "a"), (lambda: None, "b")]))'
    same "$status" 1
    same "$output" $'1..2\n# it is gone\nnot ok 1 a\nok 2 b'
    same "$stderr" ''
}

@test "bench: what goes wrong in the vhost-user device is one line, and is kept" {
    writing 'import socket, sys' 'sys.path[:0] = ["tests/guests"]' \
        'import vhost_user as v' \
        'with v.VhostUser("sock", 100, 0, 800) as device:' \
        '    with socket.socket(socket.AF_UNIX) as peer:' \
        '        peer.connect("sock")' \
        '        peer.sendall(b"short")' \
        '    device.threads[0].join()' \
        'try:' \
        '    device.check()' \
        'except w.Wrong as err:' \
        '    print(err)'
    says 'the vhost-user device: error: unpack requires a buffer of 12 bytes'
    same "$stderr" 'run.py: vhost-user: error: unpack requires a buffer of 12 bytes'
    # A log that is too short for what it is to write
    writing 'import sys' 'import vhost_user as v' \
        'with v.VhostUser("sock2", 10000, 0, 1 << 20) as device:' \
        '    device.log = bytearray(4)' \
        '    device.threads[1].join()' \
        '    print(device.error)'
    says 'IndexError: '
    [[ $stderr != *Traceback* ]]
}
