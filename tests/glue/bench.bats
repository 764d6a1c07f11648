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
    for name in sync sync-size dirty-maps receive instructions exits loops; do
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
        '"16 GiB, 64 MiB dirty, kvm",patched,5,ms'
    run -0 ci/bench --quick --table
    golden bench-sync-size.rst
}

@test "bench: README gets the table between its marks, and nothing else changes" {
    sync_measured
    printf '%s\n' before '.. ci/bench --readme writes from here' old \
        '.. to here' after >README.rst
    run -0 ci/bench --readme
    same "$(head -n 1 README.rst) $(tail -n 1 README.rst)" 'before after'
    grep -q '6.00x' README.rst
    run -1 grep old README.rst
    run -0 ci/bench --readme
    same "$(grep -c 6.00x README.rst)" 1
}

@test "bench: a README without marks is left as it is" {
    sync_measured
    echo mine >README.rst
    run -1 ci/bench --readme
    says "README.rst has to have"
    same "$(cat README.rst)" mine
}
