#!/usr/bin/env bats
# ci/syntax.py, with the real compiler and a queue of three patches.

load helper

setup() {
    tiny applied
    mkdir -p build/patched/qemu
    cat >build/patched/qemu/osdep.h <<'END'
#define BITS_PER_LONG 64
#define BIT_WORD(n) ((n) / 64)
#define ctpopl __builtin_popcountl
#define test_bit(i, map) (*(map) >> (i) & 1)
END
    file=$(git -C build/src diff --name-only refs/thrift/base queue -- '*.c' | head -n 1)
    knows "$file"
}

# FILE is compiled, and test-words.c taken for an empty one.
knows() { # FILE
    printf '[{"directory": "%s", "file": "../src/%s", "command": "ccache cc -I. -I../src -MD -MF x.d -o x.o -c ../src/%s"},' \
        "$PWD/build/patched" "$1" "$1" >build/patched/compile_commands.json
    printf '{"directory": "%s", "file": "../src/%s", "command": "cc -x c -c /dev/null"}]' \
        "$PWD/build/patched" tests/unit/test-words.c >>build/patched/compile_commands.json
}

# Put a line into the file as the first commit that touches it has it, and take
# it out in a commit behind the last.
breaks_for_a_while() { # LINE
    (
        cd build/src || exit
        git checkout -q --detach refs/thrift/base
        for commit in $(git rev-list --reverse refs/thrift/base..queue); do
            git cherry-pick --no-commit "$commit" || git checkout -q "$commit" -- .
            grep -qF "$1" "$file" || [ -n "${done:-}" ] || ! git diff --cached --name-only | grep -qx "$file" || {
                echo "$1" >>"$file"
                done=1
            }
            git commit -qa --allow-empty -C "$commit"
        done
        git checkout -q -B queue
    ) >/dev/null 2>&1
}

@test "each patch compiles, with k/N progress, and nothing is left behind" {
    run -0 --separate-stderr ci/syntax.py
    same "$output" ''
    [[ $stderr == *'[1/3] alpha/0001'*'[3/3] beta/0001'*' files of 3 patches'* ]]
    [[ ! $stderr == *' 0 files of'* ]]
    [ ! -e build/syntax.d ] && [ ! -e build/patched/x.o ] && [ ! -e build/patched/x.d ]
    same "$(git -C build/src worktree list | wc -l)" 1
}

@test "what doesn't compile is named with its patch" {
    breaks_for_a_while 'int broken(void) { return no_such_thing; }'
    run -1 --separate-stderr ci/syntax.py
    [[ $output == alpha/*"$file:"*no_such_thing* ]]
    [[ ! $output == *build/syntax.d* ]]
}

@test "a function that nobody uses yet doesn't pass" {
    breaks_for_a_while 'static void unused(void) { }'
    sed -i 's/ccache cc/& -Wall -Werror/' build/patched/compile_commands.json
    run -1 --separate-stderr ci/syntax.py
    [[ $output == alpha/*"$file:"*unused* ]]
}

@test "headers are those of the patch, not those of build/src" {
    (
        cd build/src || exit
        mkdir -p include
        echo '#error broken' >include/odd.h
        git add include
        git commit -qm 'migration: break a header'
        sed -i '1i #include "odd.h"' "$file"
        git commit -qam 'migration: use it'
        echo >include/odd.h
        sed -i '$a /* used */' "$file"
        git commit -qam 'migration: mend it'
    )
    for number in 1 2 3; do
        echo "beta/000$((number + 1))-x.patch" >>series
    done
    sed -i "s|ccache cc|& -iquote $PWD/build/src/include|" build/patched/compile_commands.json
    run -1 --separate-stderr ci/syntax.py
    same "$(grep -c . <<<"$output")" 1
    [[ $output == beta/0003-x.patch:*broken* ]]
}

# What git leaves where it is killed while it makes a work tree: all that it
# has got to, and the lock that says so.
@test "a run that was killed while it made its work tree is no obstacle to the next" {
    for left in nothing folder; do
        git -C build/src worktree add -q --detach --lock --reason initializing "$PWD/build/syntax.d" queue
        rm -rf build/syntax.d
        [ "$left" = nothing ] || mkdir build/syntax.d
        run -0 --separate-stderr ci/syntax.py
        [ ! -e build/syntax.d ]
        same "$(git -C build/src worktree list | wc -l)" 1
    done
}

@test "a file that the build doesn't have is named" {
    knows tests/none.c
    run -1 --separate-stderr ci/syntax.py
    says "$file: build/patched doesn't have it"
}

@test "a guest's program is nothing that the build has" {
    (
        cd build/src || exit
        mkdir -p tests/tcg/x86_64/system
        echo 'int main;' >tests/tcg/x86_64/system/any.c
        git add tests/tcg
        git commit -qm 'tests/tcg: any guest'
    )
    echo beta/0002-x.patch >>series
    run -0 --separate-stderr ci/syntax.py
    same "$output" ''
}

@test "--topic compiles that topic's" {
    run -0 --separate-stderr ci/syntax.py --topic beta
    [[ $stderr == *'[1/1] beta/0001'* ]]
}

@test "a queue that isn't the one of series is refused" {
    git -C build/src checkout -q queue~
    git -C build/src branch -qf queue HEAD
    run -1 ci/syntax.py
    one_error 'build/src has 2 commits and series 3 patches: run '
}

@test "without a build it says what to run" {
    rm build/patched/compile_commands.json
    run -1 ci/syntax.py
    one_error 'run ./configure-wrapper.sh first'
}
