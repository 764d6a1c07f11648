#!/usr/bin/env bats
# Of tests/tcg, which QEMU runs by "make check-tcg": programs for a processor
# without firmware, on the QEMU that $THRIFT_QEMU names.

setup() {
    [ -n "${THRIFT_QEMU:-}" ] || skip "the stage qtest runs it"
    cd "$(dirname "$BATS_TEST_FILENAME")/../.." || return 1
    tcg=$PWD/build/src/tests/tcg
}

# tcg NAME [OPTIONS]: build and run one of x86_64/system, or of this folder; what
# it prints is in $output, and what a plugin says in $said
tcg() {
    local dir=$BATS_TEST_TMPDIR name=$1 source=$tcg/x86_64/system/$1.c
    shift
    [ -f "$source" ] || source=tests/glue/$name.c
    gcc -m64 -nostdlib -static -ggdb -O0 -fno-stack-protector -I"$tcg/minilib" \
        -Wa,--noexecstack -Wl,-T"$tcg/x86_64/system/kernel.ld" \
        -Wl,-melf_x86_64 -o "$dir/$name" "$tcg/x86_64/system/boot.S" \
        "$source" "$tcg/minilib/printf.c" -lgcc
    timeout 600 "$THRIFT_QEMU" -accel tcg -display none -monitor none "$@" \
        -D "$dir/said" \
        -chardev "file,path=$dir/output,id=output" \
        -device isa-debugcon,chardev=output \
        -device isa-debug-exit,iobase=0xf4,iosize=0x4 -kernel "$dir/$name" ||
        {
            cat "$dir/output"
            return 1
        }
    output=$(<"$dir/output")
    said=$(cat "$dir/said" 2>/dev/null) || true
}

@test "an interrupt that VMRUN injects is delivered once" {
    tcg svm-eventinj -icount shift=0,sleep=off
    [[ $output == *PASS* ]]
}

@test "a guest of SVM gets an interrupt when its CR8 lets it" {
    tcg svm-cr8
    [[ $output == *PASS* ]]
    tcg svm-cr8 -icount shift=0,sleep=off
    [[ $output == *PASS* ]]
}

@test "code that a device changes is translated anew" {
    tcg vram-code -vga none -device cirrus-vga
    [[ $output == *PASS* ]]
}

@test "REP MOVS and REP STOS by pages do what they do by elements" {
    tcg rep-string -no-reboot
    [[ $output == *PASS* ]]
}

@test "REP MOVS finds overlaps in two RAMBlocks that are one file" {
    local file=$BATS_TEST_TMPDIR/ram ram id
    truncate -s 64M "$file"
    ram=()
    for id in a b; do
        ram+=(-object "memory-backend-file,id=$id,size=64M,mem-path=$file,share=on")
    done
    tcg rep-string -no-reboot -m 128M "${ram[@]}" -numa node,memdev=a,cpus=0 \
        -numa node,memdev=b
    [[ $output == *"two RAMBlocks, distances: done"*PASS* ]]
}

@test "each element of REP MOVS and REP STOS is an instruction of icount's" {
    tcg rep-count -icount shift=0,sleep=off
    read -r moved stored <<<"$output"
    # Beside RDTSC, and what sets up registers
    [ "$moved" -ge 65536 ]
    [ "$moved" -lt 65636 ]
    [ "$stored" -ge 65536 ]
    [ "$stored" -lt 65636 ]
}

@test "a plugin sees each access of REP MOVS and REP STOS" {
    local plugin from to i read_once written_twice
    plugin=$(dirname "$THRIFT_QEMU")/tests/tcg/plugins/libmem.so
    [ -f "$plugin" ] || skip "no plugins"
    tcg rep-count -plugin "$plugin,region-summary=true" -d plugin
    read -r from to <<<"${output##*$'\n'}"
    # A line is an address, reads, writes, and whether values were as expected.
    for i in 0 1 2 3; do
        read_once=$(printf '0x%016x, 16384, 0, true' $((from + i * 16384)))
        written_twice=$(printf '0x%016x, 0, 32768, true' $((to + i * 16384)))
        [[ $said == *"$read_once"* ]]
        [[ $said == *"$written_twice"* ]]
    done
}

@test "walks of PAE paging write to no page directory pointer" {
    tcg pae-pdpte
    [[ $output == *PASS* ]]
}
