#!/usr/bin/env bats
# ci/lab: what it makes of jobs and of what L1 says; nothing is booted here.

load helper

setup() {
    tiny clone
    # Packages that were fetched already
    local dir=build/lab/packages/bookworm file
    mkdir -p $dir/linux-image-cloud-amd64/boot $dir/linux-image-cloud-amd64/lib \
        $dir/busybox-static/bin $dir/seabios $dir/ipxe-qemu \
        $dir/qemu-system-data/usr/share/qemu build/lab/kernels tests/lab/jobs
    echo packed >$dir/linux-image-cloud-amd64/boot/vmlinuz-1
    echo module >$dir/linux-image-cloud-amd64/lib/kvm-amd.ko
    echo shell >$dir/busybox-static/bin/busybox
    echo ELF >build/lab/kernels/bookworm-linux-image-cloud-amd64
    for file in bios-256k.bin vgabios-stdvga.bin kvmvapic.bin linuxboot.bin \
        linuxboot_dma.bin multiboot.bin multiboot_dma.bin pvh.bin efi-e1000.rom \
        efi-virtio.rom; do
        echo rom >$dir/qemu-system-data/usr/share/qemu/$file
    done
    echo init >tests/lab/init
    echo library >tests/lab/lib.sh
    mkdir -p build/patched
    cp "$(type -P true)" build/patched/qemu-system-x86_64
    job one 'One guest' quick
    job other 'Another one' timeout=1 needs=
    console 'ok guest runs' end
}

# job NAME TITLE WORDS: a job of tests/lab
job() {
    printf '#!/bin/sh\n# %s\n# lab: %s\nexit\n' "$2" "$3" >"tests/lab/jobs/$1.sh"
}

# console LINE...: what L1 says, in a QEMU that emulates nothing; before its end
# comes what a job ends with
console() {
    local cases
    cases=$(printf '%s\n' "$@" | grep -c -E '^(not )?ok ' || :)
    printf '%s\n' "$@" | sed "s/^end\$/1..$cases\n&/; s/^cut\$/end/" |
        sed 's/^/LAB: /' >said
    cat >l0 <<'EOT'
#!/bin/sh
for arg; do
    case $arg in
    file:*) { echo '[ 0.1] Linux'; cat said; } >"${arg#file:}" ;;
    if=none,*) disk=${arg#*file=} disk=${disk%%,*} ;;
    lab.* | *lab.npt*) echo "$arg" >append ;;
    esac
done
echo "$*" >arguments
mkdir -p left
echo kept >left/file
tar -C left -cf "$disk" .
EOT
    chmod +x l0
}

@test "lab: --list says which jobs there are" {
    run -0 ci/lab --list
    says 'one              quick  One guest'
    says 'other                   Another one'
    run -0 ci/lab --list one
    same "$output" 'one              quick  One guest'
    run -2 ci/lab --list none
    one_line "no job 'none': see ci/lab --list"
}

@test "lab: wrong use is said in one line" {
    run -2 ci/lab none
    one_line "no job 'none': see ci/lab --list"
    run -2 ci/lab
    one_line 'which jobs: names, --quick or --all'
    run -2 ci/lab one --all
    one_line 'which jobs'
    run -2 ci/lab one --kernel sarge
    one_line "invalid choice: 'sarge'"
    run -2 ci/lab one --l0 ./none
    one_line 'none is not there or can'
    run -2 ci/lab one --qemu pristine
    one_line 'build it with ./configure-wrapper.sh --pristine'
    run -2 ci/lab one --timeout 0
    one_line '0 is not 1 or more'
    run -2 ci/lab one --metal --vmx
    one_line '--metal or --vmx?'
    run -2 ci/lab one --metal --npt 0
    one_line '--metal has no L1 for --npt'
    run -2 ci/lab one --metal --no-icount
    one_line '--metal has no L1 for --no-icount'
    run -2 ci/lab one --vmx --smp 2
    one_line '--vmx is Bochs, and has no --smp'
}

@test "lab: long jobs are begun before the others" {
    job two 'Two' 'quick long'
    console 'ok guest runs' end
    run -0 --separate-stderr ci/lab --quick --jobs 1 --l0 ./l0
    same "$(grep -o '\[./2\] [a-z]*' <<<"$stderr" | paste -sd' ')" '[1/2] two [2/2] one'
}

@test "lab: a job says of itself nothing that the lab doesn't know" {
    job one 'One guest' 'quick sometimes'
    run -1 ci/lab --list
    one_line "one.sh: what is 'sometimes'?"
}

@test "lab: what L1 says is TAP, and what is left is unpacked" {
    console 'ok guest runs' '# a remark' 'ok guest sees # SKIP it has no eyes' end
    run -0 ci/lab one --l0 ./l0
    says 'ok 1 one: guest runs'
    says '# one: a remark'
    says 'ok 2 one: guest sees # SKIP it has no eyes'
    says '1..2'
    says ' s of CPU time'
    same "$(cat build/lab/results/one/out/file)" kept
    [ ! -e build/lab/results/one/disk ]
}

@test "lab: what fails in L1 fails, and jobs are numbered through" {
    job two 'Two' quick
    console 'ok guest runs' 'not ok guest sees' end
    run -1 ci/lab --quick --l0 ./l0
    says 'not ok 4 '
    says '1..4'
}

@test "lab: a job that doesn't come to its end fails, whatever it had said" {
    console 'ok guest runs'
    run -1 ci/lab one --l0 ./l0
    says 'ok 1 one: guest runs'
    says 'not ok 2 one: L1 ended before the job had'
    console end
    run -1 ci/lab one --l0 ./l0
    says 'not ok 1 one: ran no test'
    console 'ok guest runs' end
    echo 'echo "it broke"; exit 3' >>l0
    run -1 ci/lab one --l0 ./l0
    says 'not ok 2 one: L0 ended with 3: it broke'
}

@test "lab: a job has to say its last line, and all its cases to arrive" {
    console 'ok guest runs' cut
    run -1 ci/lab one --l0 ./l0
    says 'ok 1 one: guest runs'
    says "not ok 2 one: it ended before its last line, 'finished'"
    console 'ok guest runs' 1..2 cut
    run -1 ci/lab one --l0 ./l0
    says 'not ok 2 one: of its 2 cases 1 are on the console'
}

@test "lab: a job that takes too long is ended, with all that it runs" {
    console 'ok guest runs'
    # shellcheck disable=SC2016 # for the script
    echo 'echo $$ >pid; while :; do :; done' >>l0
    run -1 ci/lab other --l0 ./l0
    says 'ok 1 other: guest runs'
    says 'not ok 2 other: not done in 1 s of CPU time'
    run ! kill -0 "$(cat pid)"
    # What waits has 8 times as much.
    console 'ok guest runs'
    echo 'exec sleep 600' >>l0
    run -1 ci/lab other --l0 ./l0
    says 'not ok 2 other: not done in 8 s'
}

@test "lab: a job on a busy host has the time that it has without others" {
    console 'ok guest runs' end
    echo 'sleep 2' >>l0
    run -0 ci/lab other --l0 ./l0
    says 'ok 1 other: guest runs'
}

@test "lab: a job that needs what the QEMU doesn't have is skipped" {
    job one 'One guest' needs=no-such-property-in-true
    run -0 ci/lab one --l0 ./l0
    says 'ok 1 one: One guest # SKIP'
    says 'knows no no-such-property-in-true'
    job one 'One guest' programs=tests/other-test
    run -0 ci/lab one --l0 ./l0
    says '# SKIP there is no tests/other-test beside'
}

@test "lab: options are stronger than what a job wants" {
    job one 'One guest' 'npt=0 nested=1'
    run -0 ci/lab one --l0 ./l0
    same "$(grep -o 'lab.*' append)" 'lab.kvm=kvm-amd lab.npt=0 lab.nested=1'
    grep -q -- '-icount shift=0,sleep=off -seed 1' arguments
    run -0 ci/lab one --l0 ./l0 --npt 1 --nested 0 --smp 2 --no-icount --keep
    same "$(grep -o 'lab.*' append)" 'lab.kvm=kvm-amd lab.npt=1 lab.nested=0'
    grep -q -- '-smp 2' arguments
    run ! grep -q icount arguments
    # Only of a nanosecond each are instructions told.
    grep -q ICOUNT=0 build/lab/results/one/initrd
    grep -q HOSTS_TIME=1 build/lab/results/one/initrd
    job slow 'A guest that waits' shift=4
    run -0 ci/lab one slow --l0 ./l0 --keep
    grep -q ICOUNT=1 build/lab/results/one/initrd
    run ! grep -q HOSTS_TIME build/lab/results/one/initrd
    grep -q ICOUNT=0 build/lab/results/slow/initrd
    grep -q 'shift=4' build/lab/results/slow/command
}

@test "lab: a job that runs twice fails if the second isn't the same" {
    job one 'One guest' twice
    run -0 ci/lab one --l0 ./l0
    says 'ok 2 one: a second run is the same, to the instruction'
    same "$(ls build/lab/results)" $'one\none.lock'
    # shellcheck disable=SC2016 # for the script
    sed -i 's/echo kept/echo $$/' l0
    run -1 ci/lab one --l0 ./l0
    says 'not ok 2 one: a second run is the same'
    says '# one: file differs'
    # A job that is changed under way isn't a difference.
    console 'ok guest runs' end
    sed -i '2i echo "# changed" >>tests/lab/lib.sh\ncat build/lab/results/one/initrd >>seen\necho >>seen' l0
    run -0 ci/lab one --l0 ./l0
    same "$(grep -a -c '^# changed' seen)" 0
    # Without -icount no two are.
    run -0 ci/lab one --l0 ./l0 --no-icount
    says '1..1'
}

@test "lab: a job is not run with what it isn't for" {
    job one 'One guest' 'quick npt=0 fixed=npt,nested'
    run -2 ci/lab one --l0 ./l0 --npt 1
    one_line "job 'one' is for --npt 0"
    run -0 ci/lab --quick --l0 ./l0 --nested 1
    says "ok 1 one: One guest # SKIP job 'one' is for --nested 0"
    run -0 ci/lab one --l0 ./l0 --npt 0
    says 'ok 1 one: guest runs'
}

@test "lab: figures become a table" {
    console 'ok guest runs' '# figure guest=post variant=off io=6606 mmio=' \
        '# figure guest=post variant=on io=1334 mmio=100 saved=5549' \
        '# figure guest=post variant=off insns=343263297' end
    run -0 ci/lab one --l0 ./l0 --table build/table
    run -0 cat build/table.csv build/table.rst
    golden lab-table
}

@test "lab: --vmx runs the job in Bochs, and has its disk" {
    local packages=build/lab/packages/bookworm name
    for name in bochs bochsbios vgabios libltdl7 libsamplerate0 isolinux \
        syslinux-common genisoimage; do
        mkdir -p $packages/$name/usr/bin
    done
    mkdir -p build/lab/bochs $packages/isolinux/usr/lib/ISOLINUX \
        $packages/syslinux-common/usr/lib/syslinux/modules/bios
    echo boots >$packages/isolinux/usr/lib/ISOLINUX/isolinux.bin
    echo boots >$packages/syslinux-common/usr/lib/syslinux/modules/bios/ldlinux.c32
    cat >$packages/genisoimage/usr/bin/genisoimage <<'EOT'
#!/bin/bash
cp "${!#}/isolinux/isolinux.cfg" .
EOT
    cat >$packages/bochs/usr/bin/bochs-bin <<'EOT'
#!/bin/sh
config=$3
cp said "$(sed -n 's/^com1:.*dev=//p' "$config")"
mkdir -p left
echo kept >left/file
tar -C left -cf "$(sed -n 's/^ata0-master:.*path=\([^,]*\),.*/\1/p' "$config")" .
exit 1
EOT
    chmod +x $packages/bochs/usr/bin/bochs-bin $packages/genisoimage/usr/bin/genisoimage
    echo module >$packages/linux-image-cloud-amd64/lib/kvm-intel.ko
    run -0 ci/lab one --vmx --npt 0
    says 'ok 1 one-vmx: guest runs'
    same "$(cat build/lab/results/one-vmx/out/file)" kept
    grep -q 'lab.kvm=kvm-intel lab.ept=0 lab.nested=0' isolinux.cfg
    # All are those that are for Bochs there, and the others.
    console 'ok guest runs' '# figure guest=post variant=off io=6606' end
    job other 'Another one' vmx
    run -0 ci/lab --all --l0 ./l0
    says '1..2'
    cp build/patched/qemu-system-x86_64 tested
    cp l0 build/patched/qemu-system-x86_64
    run -0 ci/lab --all --qemu ./tested --table build/table
    same "$(cut -d, -f1 build/table.csv | sort | xargs)" 'guest post post-vmx'
    says 'other-vmx: guest runs'
    says '1..3'
    run -0 ci/lab --all --vmx --qemu ./tested
    says '1..1'
}

# An unshare that leaves all to the job: the last argument is the console
fake_unshare() {
    cat >"$FIXTURES/stubs/unshare" <<'EOT'
#!/bin/bash
[ "${!#}" = true ] && exit
ls "${@: -2:1}" >root
grep . "${@: -2:1}/job/env" >env
echo left >"${@: -2:1}/out/file"
cp said "${!#}"
EOT
    chmod +x "$FIXTURES/stubs/unshare"
}

teardown() { rm -f "$FIXTURES/stubs/unshare"; }

@test "lab: --metal runs the job on this host's KVM" {
    [ -w /dev/kvm ] || skip 'no usable /dev/kvm'
    fake_unshare
    printf 'echo\n' >tests/lab/metal
    run -0 ci/lab one --metal
    says 'ok 1 one: guest runs'
    same "$(cat build/lab/results/one/out/file)" left
    grep -q 'METAL=1' env
    grep -q 'ICOUNT=0' env
    [ ! -e build/lab/results/one/root ]
    job one 'One guest' nested=1
    [ -e /sys/module/kvm_amd ] || [ -e /sys/module/kvm_intel ] || {
        run -0 ci/lab one --metal
        says "# SKIP it wants nested=1 of KVM, which this host doesn't have"
    }
}

@test "lab: --metal is refused in one line where it can't be" {
    printf '#!/bin/sh\necho "unshare: not allowed" >&2\nexit 1\n' >"$FIXTURES/stubs/unshare"
    chmod +x "$FIXTURES/stubs/unshare"
    run -2 ci/lab one --metal
    if [ -w /dev/kvm ]; then
        one_line '--metal: namespaces are not available: unshare: not allowed'
    else
        one_line '--metal: no /dev/kvm that can be used'
    fi
}

@test "lab: without Debian's packages all is skipped, with the reason" {
    rm -r build/lab
    stub apt-get <<<'#!/bin/sh
echo "Err:1 http://archive.example trixie InRelease"
echo "E: Failed to fetch http://archive.example: no such host"
exit 100'
    run -0 ci/lab --all --l0 ./l0
    says '1..0 # SKIP'
    says 'are not available'
    # Whatever else apt says is no reason to skip
    stub apt-get <<<'#!/bin/sh
echo "E: Write error - write (28: No space left on device)"
exit 100'
    run -1 ci/lab --all --l0 ./l0
    says 'are not available'
    says 'No space left'
    never_says SKIP
}
