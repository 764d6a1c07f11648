#!/usr/bin/env bats
# Of tests/tcg, which QEMU runs by "make check-tcg": programs for a processor
# without firmware, on the QEMU that $THRIFT_QEMU names.

setup() {
    [ -n "${THRIFT_QEMU:-}" ] || skip "the stage qtest runs it"
    cd "$(dirname "$BATS_TEST_FILENAME")/../.." || return 1
    tcg=$PWD/build/src/tests/tcg
}

# tcg NAME [OPTIONS]: build and run one of x86_64/system; what it prints is in
# $output
tcg() {
    local dir=$BATS_TEST_TMPDIR name=$1
    shift
    gcc -m64 -nostdlib -static -ggdb -O0 -fno-stack-protector -I"$tcg/minilib" \
        -Wa,--noexecstack -Wl,-T"$tcg/x86_64/system/kernel.ld" \
        -Wl,-melf_x86_64 -o "$dir/$name" "$tcg/x86_64/system/"{boot.S,"$name.c"} \
        "$tcg/minilib/printf.c" -lgcc
    timeout 600 "$THRIFT_QEMU" -accel tcg -display none -monitor none "$@" \
        -chardev "file,path=$dir/output,id=output" \
        -device isa-debugcon,chardev=output \
        -device isa-debug-exit,iobase=0xf4,iosize=0x4 -kernel "$dir/$name" ||
        {
            cat "$dir/output"
            return 1
        }
    output=$(<"$dir/output")
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
