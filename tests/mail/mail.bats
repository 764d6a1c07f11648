#!/usr/bin/env bats
# The mail lane: the real series, really sent with git send-email, to an SMTP
# server on this machine, and read back.

setup_file() {
    ROOT=$(cd "$BATS_TEST_DIRNAME/../.." && pwd -P)
    export ROOT
    export HOME=$BATS_FILE_TMPDIR/home MAILS=$BATS_FILE_TMPDIR/mails
    export BOX=$BATS_FILE_TMPDIR/box
    unset "${!GIT_@}"
    mkdir -p "$HOME" "$BOX"
    git config --global user.name "Ada Sender"
    git config --global user.email ada@example.com
    TOPIC=$(sed -n 's/^# topic: //p' "$ROOT/series" | head -n 1)
    TOTAL=$(grep -c "^$TOPIC/" "$ROOT/series")
    export TOPIC TOTAL
    "$ROOT/ci/mail.py" "$TOPIC" --author 'Ada Author <author@example.com>' --out "$MAILS" >"$BATS_FILE_TMPDIR/command" 3>&-
    /usr/bin/python3 "$BATS_TEST_DIRNAME/sink.py" "$BOX" 3>&- &
    echo $! >"$BATS_FILE_TMPDIR/pid"
    for _ in $(seq 3000); do
        [ ! -f "$BOX/port" ] || break
        sleep 0.1
    done
    git send-email --quiet --confirm=never --no-thread --from='Ada Sender <ada@example.com>' \
        --smtp-server=127.0.0.1 --smtp-server-port="$(cat "$BOX/port")" \
        --smtp-encryption=none "$MAILS"/*.patch 3>&-
}

teardown_file() {
    kill "$(cat "$BATS_FILE_TMPDIR/pid")"
}

header() { # MAIL NAME
    /usr/bin/python3 - "$1" "$2" <<'EOF'
import email, email.policy, sys
with open(sys.argv[1], "rb") as mail:
    m = email.message_from_binary_file(mail, policy=email.policy.default)
print(str(m[sys.argv[2]] or "").replace("\n", " "))
EOF
}

body() { # MAIL
    /usr/bin/python3 - "$1" <<'EOF'
import email, email.policy, sys
with open(sys.argv[1], "rb") as mail:
    m = email.message_from_binary_file(mail, policy=email.policy.default)
sys.stdout.write(m.get_content())
EOF
}

@test "the printed command names git send-email and the mails" {
    grep -q "^git send-email .*--from='Ada Sender <ada@example.com>' $MAILS/" "$BATS_FILE_TMPDIR/command"
}

@test "a cover letter and every patch arrive, in order" {
    [ "$(find "$BOX" -name '*.eml' | wc -l)" = $((TOTAL + 1)) ]
    width=${#TOTAL}
    for n in $(seq 0 "$TOTAL"); do
        subject=$(header "$BOX/$(printf %04d $((n + 1))).eml" Subject)
        [[ $subject == "[PATCH $(printf "%0${width}d" "$n")/$TOTAL] "* ]]
    done
}

@test "each goes to the list and to the maintainers, or to the security list alone" {
    for mail in "$BOX"/*.eml; do
        if [ -e "$ROOT/patches/$TOPIC/private" ]; then
            [ "$(header "$mail" To)" = qemu-security@nongnu.org ]
            [[ $(header "$mail" X-Envelope-To) != *qemu-devel* ]]
            [ -z "$(header "$mail" Cc)" ]
            continue
        fi
        [[ $(header "$mail" To) == *qemu-devel@nongnu.org* ]]
        [[ $(header "$mail" X-Envelope-To) == *qemu-devel@nongnu.org*@* ]]
        [ -n "$(header "$mail" Cc)" ]
    done
}

@test "patches reply to the cover letter" {
    id=$(header "$BOX/0001.eml" Message-Id)
    [ -n "$id" ]
    for n in $(seq 2 $((TOTAL + 1))); do
        [ "$(header "$BOX/$(printf %04d "$n").eml" In-Reply-To)" = "$id" ]
    done
}

@test "the cover letter has a diffstat and a base, no sign-off was added" {
    body "$BOX/0001.eml" >"$BATS_TEST_TMPDIR/cover"
    grep -q ' changed, ' "$BATS_TEST_TMPDIR/cover"
    . "$ROOT/ci/pins"
    grep -qx "base-commit: $QEMU_COMMIT" "$BATS_TEST_TMPDIR/cover"
    run grep -l '^Signed-off-by:' "$BOX"/*.eml
    [ "$status" = 1 ]
}

@test "what arrives applies to the base and gives the topic's tree" {
    src=$ROOT/build/src tree=$BATS_TEST_TMPDIR/tree
    git -C "$src" worktree add -q --no-checkout --detach "$tree" refs/thrift/base
    git -C "$tree" sparse-checkout set --no-cone /no/file/at/all
    git -C "$tree" read-tree -mu HEAD
    for n in $(seq 2 $((TOTAL + 1))); do
        GIT_COMMITTER_NAME=T GIT_COMMITTER_EMAIL=t@example.com git -C "$tree" am -q "$BOX/$(printf %04d "$n").eml"
    done
    got=$(git -C "$tree" rev-parse 'HEAD^{tree}')
    author=$(git -C "$tree" log -1 --format=%ae)
    git -C "$src" worktree remove --force "$tree"
    [ "$got" = "$(git -C "$src" rev-parse "topic/$TOPIC^{tree}")" ]
    [ "$author" = author@example.com ]
}
