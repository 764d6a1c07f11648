#!/usr/bin/env bats
# ci/mail.py: what it writes, what it refuses to write.

load helper

setup() {
    tiny applied
    git config --global user.name 'Ada Sender'
    git config --global user.email ada@example.net
}

header() { # MAIL NAME: unfolded and decoded
    /usr/bin/python3 - "$1" "$2" <<'END'
import email, email.policy, sys
with open(sys.argv[1], "rb") as mail:
    m = email.message_from_binary_file(mail, policy=email.policy.default)
print(str(m[sys.argv[2]] or ""))
END
}

subjects() { # DIR
    for mail in "$1"/*.patch; do header "$mail" Subject; done
}

@test "without an identity nothing is written" {
    rm "$HOME/.gitconfig"
    GIT_AUTHOR_NAME=Somebody GIT_AUTHOR_EMAIL=s@example.com EMAIL=s@example.com run -1 ci/mail.py alpha
    one_line 'who sends?'
    git config --global user.name 'Only Name'
    run -1 ci/mail.py alpha
    one_line 'who sends?'
    [ ! -e build/mail ]
}

@test "an identity that is no address is refused" {
    for who in 'Ada' 'ada@example.com' 'Ada <ada>' 'Ada <ada@localhost>'; do
        run -2 ci/mail.py alpha --from "$who"
        one_line "--from '$who'"
    done
    git config --global user.email ada
    run ! ci/mail.py alpha
    says ada
    [ ! -e build/mail ]
}

@test "a cover letter and the patches, numbered, in one thread" {
    run -0 ci/mail.py alpha
    same "$(subjects build/mail/alpha-v1)" '[PATCH 0/2] migration: count faster
[PATCH 1/2] migration/ram: count pages by words
[PATCH 2/2] tests/unit: test the count by words'
    id=$(header build/mail/alpha-v1/0000-*.patch Message-Id)
    [ -n "$id" ]
    same "$(header build/mail/alpha-v1/0000-*.patch In-Reply-To)" ''
    for mail in build/mail/alpha-v1/000[12]-*.patch; do
        same "$(header "$mail" In-Reply-To)" "$id"
    done
}

@test "the sender is From, the author is kept in the text" {
    ci/mail.py alpha
    for mail in build/mail/alpha-v1/*.patch; do
        same "$(header "$mail" From)" 'Ada Sender <ada@example.net>'
    done
    grep -qx 'From: Zoë Tester <zoe@example.com>' build/mail/alpha-v1/0002-*.patch
    ci/mail.py alpha --from 'Bob Sender <bob@example.net>'
    same "$(header build/mail/alpha-v1/0001-*.patch From)" 'Bob Sender <bob@example.net>'
}

@test "an author who can't be answered is refused, until somebody else is named" {
    local mine=$BATS_TEST_TMPDIR/mine holder='Place Holder <holder@users.noreply.host.example>'
    git clone -q build/src "$mine"
    echo '/* more */' >>"$mine/migration/ram.c"
    git -C "$mine" commit -qam 'migration/ram: say more' --author "$holder"
    run -1 ci/mail.py alpha --repo "$mine" --range HEAD~2..HEAD
    one_line "$holder, author of 1 of 2 patches, can't be answered"
    [ ! -e build/mail ]
    run -2 ci/mail.py alpha --repo "$mine" --range HEAD~2..HEAD --author nobody
    one_line "--author 'nobody'"
    run -0 ci/mail.py alpha --repo "$mine" --range HEAD~2..HEAD --author 'Zoë Author <zoe@example.com>'
    git -C "$mine" checkout -q HEAD~2
    git -C "$mine" am -q "$REPO"/build/mail/alpha-v1/000[12]-*.patch
    same "$(git -C "$mine" log -2 --format='%an <%ae>' | uniq)" 'Zoë Author <zoe@example.com>'
    # The sender's own are from the sender alone.
    run -0 ci/mail.py alpha --repo "$mine" --range HEAD~2..HEAD --author 'Ada Sender <ada@example.net>'
    ! grep -h -A1 '^$' build/mail/alpha-v1/000[12]-*.patch | grep -q '^From: '
}

@test "a private topic goes to its own list alone, until it is public" {
    echo qemu-security@nongnu.org >patches/alpha/private
    run -0 ci/mail.py alpha
    says 'to qemu-security@nongnu.org alone'
    says '--suppress-cc=all --no-to --no-cc --no-bcc'
    # Of what builds on it nobody learns, either.
    run -1 ci/mail.py beta
    one_error 'beta builds on alpha, which is not public yet'
    run -0 ci/mail.py beta --public
    never_says '--suppress-cc'
    for mail in build/mail/alpha-v1/*.patch; do
        same "$(header "$mail" To)" qemu-security@nongnu.org
        same "$(header "$mail" Cc)" ''
    done
    run -0 ci/mail.py alpha --public
    never_says 'alone'
    same "$(header build/mail/alpha-v1/0001-*.patch To)" qemu-devel@nongnu.org
    [ -n "$(header build/mail/alpha-v1/0001-*.patch Cc)" ]
}

@test "what it builds on is said, and a sender that can't be answered" {
    run -0 ci/mail.py beta --from 'Bob <bob@mail.example>'
    says "can't be answered"
    says 'alpha'
    run -1 ci/mail.py alpha --out /proc/x
    one_error "/proc/x can't be made"
}

@test "each goes to the list and to whom get_maintainer.pl names" {
    ci/mail.py alpha
    for mail in build/mail/alpha-v1/*.patch; do
        same "$(header "$mail" To)" qemu-devel@nongnu.org
    done
    same "$(header build/mail/alpha-v1/0001-*.patch Cc)" 'Mary Keeper <mary@example.org>'
    same "$(header build/mail/alpha-v1/0002-*.patch Cc)" 'Theo Tester <theo@example.org>'
    same "$(header build/mail/alpha-v1/0000-*.patch Cc)" \
        'Mary Keeper <mary@example.org>, Theo Tester <theo@example.org>'
}

@test "the cover letter has the text, the diffstat, the base and what comes before" {
    ci/mail.py beta
    output=$(sed '1,/^$/d' build/mail/beta-v1/0000-*.patch)
    golden mail-cover
    same "$(sed -n 's/^prerequisite-patch-id: //p' build/mail/beta-v1/0000-*.patch)" \
        "$(for patch in patches/alpha/*.patch; do git patch-id --stable <"$patch" | cut -d' ' -f1; done)"
}

@test "no Signed-off-by is added, nothing is sent" {
    stub git-send-email <<END
#!/bin/sh
touch "$BATS_TEST_TMPDIR/sent"
END
    git config --global format.signOff true
    run -0 --separate-stderr ci/mail.py alpha
    same "$output" "git send-email --confirm=always --no-thread --from='Ada Sender <ada@example.net>' $REPO/build/mail/alpha-v1/*.patch"
    [[ $stderr == *'3 mails in'*'TL;DR: read the tiny policy.'*'without the Signed-off-by of a person'* ]]
    [ ! -e "$BATS_TEST_TMPDIR/sent" ]
    run ! grep -ri signed-off-by build/mail
}

@test "a Signed-off-by in the queue is complained of" {
    git -C "$SRC" commit -q --amend -s --no-edit
    git -C "$SRC" branch -f topic/beta
    run -1 ci/mail.py beta
    says 'the queue carries a Signed-off-by'
}

@test "the mails apply to the base and give the topic" {
    ci/mail.py alpha
    git -C "$SRC" worktree add -q --detach "$BATS_TEST_TMPDIR/tree" refs/thrift/base
    git -C "$BATS_TEST_TMPDIR/tree" am -q "$REPO"/build/mail/alpha-v1/000[12]-*.patch
    same "$(git -C "$BATS_TEST_TMPDIR/tree" rev-parse 'HEAD^{tree}')" "$(rev 'topic/alpha^{tree}')"
    same "$(git -C "$BATS_TEST_TMPDIR/tree" log -1 --format='%an %aI')" 'Zoë Tester 2026-03-02T12:00:00+00:00'
}

@test "vN wants a changelog" {
    run -1 ci/mail.py alpha --version 2
    one_line "add 'Changes since v1:'"
    printf '\nChanges since v1:\n- none\n' >>patches/alpha/cover.txt
    run -0 ci/mail.py alpha --version 2
    same "$(subjects build/mail/alpha-v2 | head -n 2)" '[PATCH v2 0/2] migration: count faster
[PATCH v2 1/2] migration/ram: count pages by words'
    run -1 ci/mail.py alpha --version 3
    one_line "add 'Changes since v2:'"
    printf 'v2 -> v3:\n- none\n' >>patches/alpha/cover.txt
    run -0 ci/mail.py alpha --version 3
    run -2 ci/mail.py alpha --version 0
    run -2 ci/mail.py alpha --version x
}

@test "--rfc" {
    ci/mail.py alpha --rfc
    same "$(subjects build/mail/alpha-v1 | head -n 1)" '[RFC PATCH 0/2] migration: count faster'
}

@test "a patch that nobody maintains goes to those of the others" {
    echo 2.0 >"$SRC/VERSION"
    git -C "$SRC" commit -q -a -m 'version: two'
    git -C "$SRC" branch -f topic/beta
    run -0 ci/mail.py beta
    same "$(grep ^Cc: build/mail/beta-v1/0002-*)" "$(grep ^Cc: build/mail/beta-v1/0001-*)"
    grep -q '^Cc: .*@' build/mail/beta-v1/0002-*
}

@test "a series that nobody maintains is complained of" {
    echo 2.0 >"$SRC/VERSION"
    git -C "$SRC" commit -q -a -m 'version: two'
    git -C "$SRC" branch topic/gamma
    ci/export.sh
    printf 'version: two\n\nText.\n' >patches/gamma/cover.txt
    run -1 --separate-stderr ci/mail.py gamma
    grep -q '0001-version-two.patch: get_maintainer.pl named nobody' <<<"$output"
}

@test "without a cover letter nothing is written" {
    rm patches/alpha/cover.txt
    run -1 ci/mail.py alpha
    one_line 'patches/alpha/cover.txt is not there'
}

@test "a refusal leaves the mails of last time" {
    ci/mail.py alpha
    rm patches/alpha/cover.txt
    run -1 ci/mail.py alpha
    [ -f build/mail/alpha-v1/0001-migration-ram-count-pages-by-words.patch ]
}

@test "--out names a folder, that is empty" {
    mkdir "$BATS_TEST_TMPDIR/out"
    run -0 ci/mail.py alpha --out "$BATS_TEST_TMPDIR/out"
    same "$(find "$BATS_TEST_TMPDIR/out" -name '*.patch' | wc -l)" 3
    run -1 ci/mail.py alpha --out "$BATS_TEST_TMPDIR/out"
    one_line 'is not empty'
}

@test "--out may be relative" {
    cd "$BATS_TEST_TMPDIR"
    run -0 repo/ci/mail.py alpha --out mails
    same "$(find mails -name '*.patch' | wc -l)" 3
    [ -z "$(git -C "$SRC" status --porcelain)" ]
}

# The series as its sender would mail it: on master, signed off.
own_repository() {
    git clone -q "$UPSTREAM" "$BATS_TEST_TMPDIR/own"
    git -C "$BATS_TEST_TMPDIR/own" checkout -q -b mine
    git -C "$BATS_TEST_TMPDIR/own" am -q -s "$REPO"/patches/alpha/*.patch
}

@test "--repo and --range take commits from elsewhere, with their sign-off" {
    own_repository
    run -0 ci/mail.py alpha --repo "$BATS_TEST_TMPDIR/own" --range origin/master..mine
    grep -qx "base-commit: $(git -C "$UPSTREAM" rev-parse HEAD)" build/mail/alpha-v1/0000-*.patch
    same "$(grep -l '^Signed-off-by: Ada Sender' build/mail/alpha-v1/*.patch | wc -l)" 2
    cd "$BATS_TEST_TMPDIR"
    run -0 repo/ci/mail.py alpha --repo own --range origin/master..mine
}

@test "--repo needs no build/src" {
    own_repository
    rm -rf build
    run -0 ci/mail.py alpha --repo "$BATS_TEST_TMPDIR/own" --range origin/master..mine
    says 'TL;DR: read the tiny policy.'
}

@test "--repo and --range go together; a range has two ends" {
    own_repository
    run -2 ci/mail.py alpha --repo "$BATS_TEST_TMPDIR/own"
    run -2 ci/mail.py alpha --range a..b
    run -2 ci/mail.py alpha --repo "$BATS_TEST_TMPDIR/own" --range mine
    run -1 ci/mail.py alpha --repo "$BATS_TEST_TMPDIR/own" --range nothing..mine
    one_line 'git rev-list'
    run -1 ci/mail.py alpha --repo "$BATS_TEST_TMPDIR/own" --range mine..mine
    one_line 'holds no commits'
    run -1 ci/mail.py alpha --repo "$BATS_TEST_TMPDIR" --range a..b
    one_line 'is not a QEMU tree'
}

# What differs from run to run is left out.
shown() {
    sed -E -e '/^(Message-Id|In-Reply-To|References): /d' -e '/^From [0-9a-f]{40} /d' \
        -e '/^X-Mailer/d' "$1"/*.patch | grep -v '^Date: .* 2026 [0-9:]* +0000$'
}

@test "the user's configuration and variables of git change nothing" {
    ci/mail.py beta --from 'Ada Sender <ada@example.net>'
    shown build/mail/beta-v1 >"$BATS_TEST_TMPDIR/want"
    hostile_config
    hostile_env
    run -0 ci/mail.py beta --from 'Ada Sender <ada@example.net>'
    nice_env
    shown build/mail/beta-v1 | diff "$BATS_TEST_TMPDIR/want" -
}

@test "neither does the configuration of build/src" {
    ci/mail.py beta
    shown build/mail/beta-v1 >"$BATS_TEST_TMPDIR/want"
    while read -r key value; do
        git -C "$SRC" config "$key" "$value"
    done <<'END'
diff.noprefix true
diff.context 7
format.signature hostile
format.headers X-Hostile: yes
format.signOff true
format.attach true
format.subjectPrefix HOSTILE
format.suffix .mail
format.to to@example.com
format.cc cc@example.com
format.coverFromDescription subject
END
    run -0 ci/mail.py beta
    shown build/mail/beta-v1 | diff "$BATS_TEST_TMPDIR/want" -
}

@test "a cover letter in letters beyond ASCII says its encoding" {
    printf 'docs: a naïve count\n\nIt is naïve.\n' >patches/beta/cover.txt
    ci/mail.py beta
    cover=$(echo build/mail/beta-v1/0000-*.patch)
    same "$(header "$cover" Subject)" '[PATCH 0/1] docs: a naïve count'
    run ! grep -P '^(Subject|From|Cc|To):.*[^\x00-\x7f]' "$cover"
    [[ $(header "$cover" Content-Type) == *[uU][tT][fF]-8* ]]
    same "$(sed -n '/^It is/p' "$cover")" 'It is naïve.'
}
