#!/usr/bin/env bats
# ci/lint.py: for each rule a queue that breaks this one and no other.

load helper

setup() {
    tiny clone
}

# breaks RULE [TEXT]: this rule is named, with TEXT, and no other.
breaks() {
    run -1 --separate-stderr ci/lint.py
    same "$(cut -d: -f1 <<<"$output" | sort -u | paste -sd' ')" "$1"
    says "${2:-}"
    [[ $stderr == *" found" ]]
    run -1 --separate-stderr ci/lint.py --rule "$1"
}

clean() {
    run -0 ci/lint.py
    says ', 0 found'
}

# edit TOPIC/NUMBER SED...
edit() {
    sed -i "${@:2}" "$(patch_file "$1")"
}

# More text in the message, before its end.
message() { # TOPIC/NUMBER LINE...
    local file
    file=$(patch_file "$1")
    {
        sed '/^---$/,$d' "$file"
        printf '%s\n' '' "${@:2}"
        sed -n '/^---$/,$p' "$file"
    } >"$file.new"
    mv "$file.new" "$file"
}

# One more file in a patch, changed or new, with these lines in addition.
adds() { # TOPIC/NUMBER PATH [--new] [--instead LINE] LINE...
    local file path=$2 mode='' old="a/$2" was=(' context')
    file=$(patch_file "$1")
    shift 2
    if [ "$1" = --new ]; then
        mode=$'new file mode 100644\n' old=/dev/null was=()
        shift
    elif [ "$1" = --instead ]; then
        was=("-$2")
        shift 2
    fi
    {
        printf 'diff --git a/%s b/%s\n%sindex %040d..%040d\n--- %s\n+++ b/%s\n@@ -1,9 +1,9 @@\n' \
            "$path" "$path" "$mode" 0 1 "$old" "$path"
        [ ${#was[@]} = 0 ] || printf '%s\n' "${was[@]}"
        printf '+%s\n' "$@"
    } >>"$file"
}

@test "the queue is clean" {
    clean
    says '3 patches, 0 found'
    same "$(ci/lint.py 2>/dev/null)" ''
}

@test "each rule has a test below" {
    ci/lint.py --list | cut -d' ' -f1 | sort >"$BATS_TEST_TMPDIR/rules"
    sed -n 's/^@test "\([a-z0-9_]*\): .*/\1/p' "$BATS_TEST_FILENAME" | sort -u |
        diff "$BATS_TEST_TMPDIR/rules" -
}

@test "series_is_disk: a patch that series does not name" {
    cp "$(patch_file beta/0001)" patches/beta/0002-other.patch
    breaks series_is_disk 'beta/0002-other.patch: in patches/, not in series'
}

@test "series_is_disk: a patch that is not there" {
    rm patches/beta/0001-*.patch
    run -1 ci/lint.py --rule series_is_disk
    says 'in series, not in patches/'
}

@test "series_is_disk: a patch twice" {
    tail -n 1 series >>series
    run -1 ci/lint.py --rule series_is_disk
    says 'more than once in series'
}

@test "numbering: a gap" {
    mv "$(patch_file alpha/0002)" patches/alpha/0003-tests.patch
    sed -i 's,^alpha/0002.*,alpha/0003-tests.patch,' series
    breaks numbering 'expected number 0002'
}

@test "numbering: a topic torn apart" {
    sed -n 's,^alpha/0002,&,p' series >>series
    sed -i '0,/^alpha\/0002/{/^alpha\/0002/d}' series
    breaks numbering 'torn apart'
}

@test "numbering: a name of another form" {
    mv "$(patch_file beta/0001)" patches/beta/docs.patch
    sed -i 's,^beta/.*,beta/docs.patch,' series
    breaks numbering 'not topic/NNNN-subject.patch'
}

@test "needs: a topic that stands behind, or that there is not" {
    echo beta >patches/alpha/needs
    sed -i 's/^# topic: alpha/&\n# needs: beta/' series
    breaks needs "'beta' is no topic in front"
}

@test "needs: series says something else" {
    : >patches/beta/needs
    breaks needs "'# needs:' of beta is not"
    sed -i 's/^# topic: beta/&\n# needs: none/' series
    run -0 ci/lint.py --rule needs
}

@test "numbering: topic lines that say something else" {
    sed -i '/^# topic: beta/d' series
    breaks numbering "'# topic:' lines"
}

@test "cover: missing" {
    rm patches/alpha/cover.txt
    breaks cover 'patches/alpha/cover.txt: missing'
}

@test "cover: without a text" {
    printf 'one line\n' >patches/beta/cover.txt
    breaks cover 'wants a subject line'
    printf 'no empty line\nbehind the\nsubject\n' >patches/beta/cover.txt
    breaks cover 'wants a subject line'
}

@test "cover_numbers: one too few, one twice" {
    cover=patches/alpha/cover.txt
    printf '\n1     counts\n2     tests it\n' >>"$cover"
    clean
    sed -i '$d' "$cover"
    breaks cover_numbers 'patches/alpha/cover.txt: of 2 patches it names 1'
    printf '1-2   count again\n' >>"$cover"
    breaks cover_numbers 'it names 1, 1, 2'
}

@test "private: nothing, or two lines" {
    echo list@example.org >patches/alpha/private
    clean
    : >patches/alpha/private
    breaks private 'patches/alpha/private: wants one line'
    printf 'a@example.org\nb@example.org\n' >patches/alpha/private
    breaks private 'wants one line'
}

@test "from_zero: a commit id in the first line" {
    edit alpha/0001 '1s/0\{40\}/1c2c99017b5e3df9244824f2fc747bfbb0bf1a4c/'
    breaks from_zero alpha/0001
}

@test "no_footer: the version of git at the end" {
    printf -- '-- \n2.39.5\n\n' >>"$(patch_file alpha/0002)"
    breaks no_footer alpha/0002
}

@test "full_index: short object names" {
    edit beta/0001 's/^index \([0-9a-f]\{12\}\)[0-9a-f]*\.\.\([0-9a-f]\{12\}\)[0-9a-f]*/index \1..\2/'
    breaks full_index beta/0001
}

@test "subject: no subsystem, a dot, n/m, or too long" {
    for change in 's/: say how/ say how/' 's/^Subject.*/&./' 's/PATCH/PATCH 1\/3/' \
        's/^Subject.*/& in a way that makes this line longer than any list of them likes to show/'; do
        git checkout -q patches
        edit beta/0001 "/^Subject/{$change}"
        breaks subject beta/0001
    done
}

@test "subject: folded, but short enough" {
    edit beta/0001 's/^Subject: .*/Subject: [PATCH] docs: say in 76 columns how it is that the pages are counted\n by words/'
    clean
}

@test "subject: in letters beyond ASCII" {
    edit beta/0001 's/^Subject: .*/Subject: [PATCH] =?UTF-8?q?docs:=20a=20na=C3=AFve=20count?=/'
    clean
}

@test "author: no name, no address, or none to answer to" {
    for author in 'ada@example.com' 'Ada' '<ada@example.com>' 'Ada <ada>' \
        'Ada <ada@localhost>' 'Ada via List <list@example.com>' 'Ada <ada@host.(none)>'; do
        git checkout -q patches
        edit alpha/0001 "s/^From: .*/From: $author/"
        breaks author alpha/0001
    done
}

@test "body: a message of a few words" {
    edit alpha/0001 '/^Looking/,/^the map/c It is faster.'
    breaks body alpha/0001
}

@test "body: no message at all" {
    edit alpha/0001 '/^Looking/,/^the map/d'
    # As git format-patch writes it: one empty line, then ---.
    breaks body alpha/0001
}

@test "body_width: a long line" {
    message alpha/0001 'A line of a message that goes on for more than the 76 columns that git log shows'
    breaks body_width alpha/0001
}

@test "body_width: long output is fine when it is indented" {
    message alpha/0001 '    12345678901234567890123456789012345678901234567890123456789012345678901234567890'
    clean
}

@test "words: in a message, and in what is added" {
    message alpha/0001 'An ioctl is dear, and nobody knows what becomes of it.'
    breaks words "'dear'"
    git checkout -q patches
    edit alpha/0001 '0,/^+[^+]/s/^+[^+].*/+ * Whatever: who clears it knows./'
    breaks words "'who clears'"
}

@test "words: in a cover letter" {
    echo 'Who knows what becomes of it?' >>patches/beta/cover.txt
    breaks words "patches/beta/cover.txt: 'becomes of'"
}

@test "words: people are persons" {
    message alpha/0001 'Those who have read it, and somebody who has not, are people.'
    clean
}

@test "no_signoff: in any spelling" {
    message alpha/0001 'Signed-off-by: Ada Tester <ada@example.com>'
    breaks no_signoff alpha/0001
    git checkout -q patches
    message beta/0001 ' signed-Off-By: Ada Tester <ada@example.com>'
    breaks no_signoff beta/0001
}

@test "no_changelog: what changed since v1, or a Change-Id" {
    for line in 'v2: mended' 'Changes since v1: none' 'Change-Id: I0123'; do
        git checkout -q patches
        message alpha/0001 "$line"
        breaks no_changelog alpha/0001
    done
}

@test "no_placeholder: words that were to be replaced" {
    message alpha/0001 'It takes PLACEHOLDER ms.'
    breaks no_placeholder alpha/0001
    git checkout -q patches
    edit beta/0001 's/^Subject: \[PATCH\] docs: /&FIXUP /'
    breaks no_placeholder beta/0001
}

@test "git_diff: names without a/ and b/" {
    edit alpha/0001 's,^diff --git .*,diff --git migration/ram.c migration/ram.c,'
    breaks git_diff alpha/0001
}

@test "git_diff: no diff" {
    edit alpha/0001 '/^diff --git/,$d'
    breaks git_diff 'no diff in it'
}

@test "no_blobs: a binary hunk" {
    printf 'diff --git a/docs/pic b/docs/pic\nindex %040d..%040d\nGIT binary patch\nliteral 1\nIcmZPo000310RR91\n' \
        0 1 >>"$(patch_file beta/0001)"
    breaks no_blobs beta/0001
}

@test "no_blobs: folders that the tarball lacks" {
    for dir in roms pc-bios subprojects; do
        git checkout -q patches
        adds beta/0001 "$dir/file" line
        breaks no_blobs "touches $dir/file"
    done
}

@test "spdx: a new source file without its licence" {
    edit alpha/0002 '/SPDX/d'
    breaks spdx tests/unit/test-words.c
    git checkout -q patches
    edit alpha/0002 's/GPL-2.0-or-later/MIT/'
    breaks spdx tests/unit/test-words.c
}

@test "whitespace: blanks at the end of a line" {
    edit beta/0001 's/^+They are counted by words\./& /'
    breaks whitespace docs/pages.rst
    git checkout -q patches
    adds alpha/0001 tests/data/expected.out 'blanks  '
    clean
}

@test "trace_events: an event that nothing calls" {
    adds alpha/0001 migration/trace-events 'count_words(int n) "%d"'
    breaks trace_events trace_count_words
    adds beta/0001 migration/ram.c '    trace_count_words(n);'
    clean
}

@test "trace_events: a newline in the format" {
    adds alpha/0001 migration/trace-events 'count_words(int n) "%d\n"'
    adds beta/0001 migration/ram.c '    trace_count_words(n);'
    breaks trace_events 'ends with a newline'
}

@test "trace_events: another format of an old event is fine" {
    adds alpha/0001 migration/trace-events --instead 'old_event(int n) "%d"' 'old_event(int n) "n=%d"'
    clean
}

@test "qapi_since: a new command that does not say since when" {
    adds beta/0001 qapi/migration.json '##' '# @count-words:' '##' "{ 'command': 'count-words' }"
    breaks qapi_since qapi/migration.json
    git checkout -q patches
    adds beta/0001 qapi/migration.json '##' '# @count-words:' '#' '# Since: 10.2' '##' "{ 'command': 'count-words' }"
    clean
}

@test "qapi_since: each new definition says it" {
    adds beta/0001 qapi/migration.json '##' '# @count-words:' '#' '# Since: 10.2' '##' "{ 'command': 'count-words' }" \
        '##' '# @CountInfo:' '##' "{ 'struct': 'CountInfo', 'data': {} }"
    breaks qapi_since qapi/migration.json
}

@test "qtests: one that the topic adds or changes and does not name" {
    adds alpha/0002 tests/qtest/words-test.c line
    breaks qtests 'alpha/0002-tests-unit-test-the-count-by-words.patch: words-test is not in patches/alpha/tests'
    echo 'words-test' >patches/beta/tests
    breaks qtests 'words-test is not in patches/alpha/tests'
    echo '# words-test' >patches/alpha/tests
    breaks qtests 'words-test is not in patches/alpha/tests'
    echo 'words-test -p /words  # quick' >patches/alpha/tests
    clean
}

@test "qtests: one with another name, as meson has it" {
    adds alpha/0001 tests/qtest/test-words.c line
    breaks qtests 'test-words is not in patches/alpha/tests'
    git checkout -q patches
    adds alpha/0001 tests/qtest/netdev-socket.c line
    breaks qtests 'netdev-socket is not in patches/alpha/tests'
    git checkout -q patches
    # a part of one
    adds alpha/0001 tests/qtest/migration/words.c line
    breaks qtests 'migration-test is not in patches/alpha/tests'
    git checkout -q patches
    adds alpha/0001 tests/qtest/words.c line
    clean
    adds beta/0001 tests/qtest/meson.build "  (have_words ? ['words'] : []) + \\"
    breaks qtests 'words is not in patches/alpha/tests'
    echo words >patches/alpha/tests
    clean
    git checkout -q patches
    rm patches/alpha/tests
    adds alpha/0001 tests/qtest/words.c line
    adds beta/0001 tests/qtest/meson.build "executable('words', files('words.c'))"
    clean
}

@test "allow: an entry that nothing needs" {
    echo 'qtests | words-test | for another target' >>ci/lint.allow
    breaks allow "ci/lint.allow: nothing needs 'qtests | words-test | for another target'"
    adds alpha/0002 tests/qtest/words-test.c line
    clean
    # A rule that there is not, and two entries for the same
    echo 'qtest | words-test | for another target' >>ci/lint.allow
    breaks allow "nothing needs 'qtest | words-test"
}

@test "qtests: one that no host of ours builds, with a reason" {
    adds alpha/0002 tests/qtest/words-test.c line
    echo 'qtests | words-test | for another target' >>ci/lint.allow
    clean
}

@test "maintainers: a new file that nobody maintains" {
    edit alpha/0002 's/^+F: .*/+F: tests\/other.c/'
    breaks maintainers tests/unit/test-words.c
}

@test "maintainers: a glob, a folder, or a reason in lint.allow do" {
    edit alpha/0002 's/^+F: .*/+F: tests\/unit\/test-w*/'
    clean
    edit alpha/0002 's/^+F: .*/+F: tests\/unit\//'
    clean
    edit alpha/0002 's/^+F: .*/+F: none/'
    echo 'maintainers | tests/unit/*' >>ci/lint.allow
    breaks maintainers tests/unit/test-words.c
    echo 'maintainers | tests/unit/* | listed under Tests' >>ci/lint.allow
    clean
}

@test "option_text: a property that is described nowhere" {
    adds alpha/0001 migration/options.c '    DEFINE_PROP_BOOL("x-count", MigrationState, count, false),'
    breaks option_text "'x-count'"
    adds beta/0001 qemu-options.hx '``x-count=on|off``'
    clean
    git checkout -q patches
    adds alpha/0001 migration/options.c '    object_class_property_add_bool(oc, "by-words", get, set);'
    breaks option_text "'by-words'"
    echo 'option_text | by-words | internal' >>ci/lint.allow
    clean
}

@test "option_text: a part of another word is no description" {
    adds alpha/0001 migration/options.c '    DEFINE_PROP_BOOL("count", MigrationState, count, false),'
    breaks option_text "'count'"
}

@test "option_text: another default of an old property is fine" {
    adds alpha/0001 migration/options.c --instead '    DEFINE_PROP_BOOL("x-old", MigrationState, old, false),' \
        '    DEFINE_PROP_BOOL("x-old", MigrationState, old, true),'
    clean
}

@test "utf8: another encoding" {
    message alpha/0001 $'A na\xefve line.'
    breaks utf8 alpha/0001
}

@test "pins: series, ci/pins and the gitlink name the same commit" {
    commit=$(sed -n 's/^QEMU_COMMIT=//p' ci/pins)
    other=$(printf '%040d' 7)
    sed -i "s/^# base: .*/# base: v1.0 $other/" series
    breaks pins "series: '# base:'"
    git checkout -q series
    git update-index --cacheinfo "160000,$other,upstream"
    breaks pins "upstream: gitlink is 160000 $other, ci/pins say $commit"
    git update-index --cacheinfo "160000,$commit,upstream"
    echo none >.gitmodules
    breaks pins .gitmodules
    git checkout -q .gitmodules
    sed -i 's/^QEMU_VERSION=.*/QEMU_VERSION=2.0/' ci/pins
    breaks pins 'v2.0'
}

@test "status: a patch without a row, or with two" {
    sed -i 's/- alpha 2$/- alpha 1/' patches/STATUS.rst
    breaks status 'alpha 1 is named 2 times'
    says 'alpha 2 is named 0 times'
    sed -i 's/- alpha 1$/- alpha 1-3/' patches/STATUS.rst
    breaks status 'alpha 3 is named 2 times'
    rm patches/STATUS.rst
    breaks status 'beta 1 is named 0 times'
}

@test "status: ranges, and a cell of two lines" {
    sed -i -e 's/- alpha 1$/- alpha\n       1, 2/' -e '/- alpha 2$/,+1d' patches/STATUS.rst
    clean
    sed -i 's/^       1, 2/       1-2/' patches/STATUS.rst
    clean
}

@test "status: a topic that there is not, or that was not rebased" {
    sed -i 's/- alpha 2$/- gamma 2/' patches/STATUS.rst
    breaks status "'gamma 2' is no topic with numbers"
    git checkout -q patches
    sed -i '/^How a rebase/,${/- beta/,+1d}' patches/STATUS.rst
    breaks status "the rebase's rows are not series' topics"
}

@test "pages: one that a program has turned into HTML" {
    echo '<html>' >tests/page.rst
    clean
    git add tests/page.rst
    breaks pages 'tests/page.rst: does not begin with a title'
    printf '====\nPage\n====\n' >tests/page.rst
    clean
}

@test "pages, top_level: without git, too" {
    rm -r .git
    # That of an archive has no gitlink; what is built is not of the project.
    mkdir build
    echo '<html>' >build/page.rst
    run -0 ci/lint.py --rule pages --rule top_level
    echo '<html>' >tests/page.rst
    run -1 ci/lint.py --rule pages --rule top_level
    says 'pages: tests/page.rst: does not begin with a title'
    rm tests/page.rst
    echo more >NOTES
    run -1 ci/lint.py --rule pages --rule top_level
    says 'top_level: NOTES: does not belong'
    # and where there is no program of that name
    mkdir "$BATS_TEST_TMPDIR/bin"
    ln -s /usr/bin/python3 "$BATS_TEST_TMPDIR/bin"
    PATH=$BATS_TEST_TMPDIR/bin run -1 /usr/bin/python3 ci/lint.py
    same "$output" "top_level: NOTES: does not belong at the top level
lint.py: 32 rules over 3 patches, 1 found"
}

@test "top_level: nothing more, nothing less, but dotfiles" {
    touch .dotfile
    git add .dotfile
    clean
    echo more >NOTES
    clean
    git add NOTES
    breaks top_level 'NOTES: does not belong'
    git rm -q -f NOTES COPYING
    breaks top_level 'COPYING: missing'
}

@test "--rule runs that rule alone, --root another checkout" {
    edit alpha/0002 '/SPDX/d'
    run -0 ci/lint.py --rule pins --rule cover
    says '2 rules over 3 patches, 0 found'
    cp -a "$FIXTURES/clone" "$BATS_TEST_TMPDIR/other"
    cd "$BATS_TEST_TMPDIR"
    run -0 repo/ci/lint.py --root other
    run -1 other/ci/lint.py --root repo
    says 'spdx: alpha/0002'
}

@test "variables of git and its configuration change nothing" {
    hostile_config
    hostile_env
    clean
}

@test "an empty queue is clean" {
    git rm -q -r patches
    sed -i '/^#/!d; /topic/d' series
    mkdir patches
    echo nothing >patches/README
    git add patches
    clean
}
