#!/usr/bin/env bats
# ci/checkpatch.py, with a checkpatch.pl that knows three words.

load helper

setup() {
    tiny applied
}

says_word() { # TOPIC/NUMBER WORD
    sed -i "0,/^+[^+]/s/^+[^+].*/& $2/" "$(patch_file "$1")"
}

@test "the queue is clean, with k/N progress" {
    run -0 --separate-stderr ci/checkpatch.py
    same "$output" ''
    [[ $stderr == *'[1/3] alpha/0001'*'[3/3] beta/0001'* ]]
}

@test "a warning or an error is shown with its patch" {
    says_word alpha/0002 STYLE_WARNING
    says_word beta/0001 STYLE_ERROR
    run -1 --separate-stderr ci/checkpatch.py
    same "$output" 'alpha/0002-tests-unit-test-the-count-by-words.patch: WARNING: a marker word
beta/0001-docs-say-how-pages-are-counted.patch: ERROR: a bad marker word'
}

@test "--topic checks that topic alone" {
    says_word alpha/0002 STYLE_WARNING
    echo 'none | none | unused' >>ci/checkpatch.allow
    run -0 ci/checkpatch.py --topic beta
    never_says alpha/
    run -1 ci/checkpatch.py --topic alpha
}

@test "what is allowed passes: that message in that patch" {
    says_word alpha/0002 STYLE_WARNING
    echo 'alpha/0002 | a marker word | it is a test' >>ci/checkpatch.allow
    run -0 ci/checkpatch.py
    says_word beta/0001 STYLE_WARNING
    run -1 --separate-stderr ci/checkpatch.py
    same "$output" 'beta/0001-docs-say-how-pages-are-counted.patch: WARNING: a marker word'
    git checkout -q patches/beta
    says_word alpha/0002 STYLE_ERROR
    run -1 --separate-stderr ci/checkpatch.py
    says 'alpha/0002-tests-unit-test-the-count-by-words.patch: ERROR: a bad'
    never_says WARNING
}

@test "an entry that excuses nothing is reported" {
    echo 'alpha/0002 | a marker word | it was a test' >>ci/checkpatch.allow
    run -1 --separate-stderr ci/checkpatch.py
    same "$output" "ci/checkpatch.allow: 'alpha/0002 | a marker word' matches nothing any more"
}

@test "a line of another form is refused with its number" {
    for line in 'alpha/0002' 'alpha/0002 | a marker word' 'alpha/0002 | | why' 'a | b | c | d'; do
        git checkout -q ci/checkpatch.allow
        echo "$line" >>ci/checkpatch.allow
        run -1 ci/checkpatch.py
        one_line "ci/checkpatch.allow:2: wants 'patch regex | message regex | reason'"
    done
    git checkout -q ci/checkpatch.allow
    echo '[ | b | c' >>ci/checkpatch.allow
    run -1 ci/checkpatch.py
    one_line 'ci/checkpatch.allow:2: '
}

@test "a checkpatch.pl that breaks is no clean queue" {
    says_word beta/0001 STYLE_CRASH
    run -1 ci/checkpatch.py
    one_error 'checkpatch.pl did not run on beta/0001'
    says 'out of order'
}
