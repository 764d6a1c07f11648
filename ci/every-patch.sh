#!/usr/bin/env bash
# Build every commit of each topic, on the base and what the topic needs, and
# run the unit tests on it.
set -euo pipefail
# shellcheck source=ci/lib/env.sh
. "$(dirname "$0")/lib/env.sh"

usage() {
    cat <<'EOF'
examples:
  ci/every-patch.sh                     each commit that was not tested yet
  ci/every-patch.sh --topic dirty-map
  ci/every-patch.sh --forget            test all of them again

A topic that needs no other is built on the base alone, whatever stands before it
in series: what is tested is what its mails are applied to.  At the topic's end the
qtests that patches/TOPIC/tests names are run, too, one a line, with arguments.

Results are kept in build/every-patch.results: a commit whose tree passed once is
not built again, whatever became of its message, as long as the tests that its
topic names, how it's built, the compiler and whether there is KVM are the same.

options:
  --topic T      only the commits of topic T
  --keep-going   test the commits after one that failed
  --apply-only   only see that each topic applies to what it needs
  --forget       drop the kept results
  --minutes N    begin no commit after so long; which topic comes first depends on
                 the queue's tree, and another run goes on with the rest

Exit status: 0 each commit builds and passes (with --minutes: each that was
tested), 1 one does not, 2 wrong use.
EOF
}

topic='' keep='' apply='' minutes='' forget='' results=$BUILD/every-patch.results
while [ $# -gt 0 ]; do
    case $1 in
    --help | -h)
        usage
        exit 0
        ;;
    --topic)
        [ $# -gt 1 ] || usage_error "$1 needs a value"
        check_topic "$2"
        topic=$2
        shift
        ;;
    --minutes)
        [ $# -gt 1 ] || usage_error "$1 needs a value"
        [[ $2 =~ ^[1-9][0-9]{0,3}$ ]] || usage_error "--minutes '$2': wants a number from 1 on"
        minutes=$2
        shift
        ;;
    --keep-going) keep=1 ;;
    --apply-only) apply=1 ;;
    --forget) forget=1 ;;
    *) usage_error "unknown option '$1'" ;;
    esac
    shift
done
base=$(git -C "$SRC" rev-parse -q --verify refs/thrift/base 2>/dev/null) ||
    die "there is no build/src: run ./configure-wrapper.sh first"
git -C "$SRC" rev-parse -q --verify refs/heads/queue >/dev/null ||
    die "the queue is not applied: run ci/apply.sh"
lock_build
[ -z "$forget" ] || rm -f "$results"
mapfile -t topics < <(if [ -n "$topic" ]; then echo "$topic"; else series_topics; fi)
if [ -n "$minutes" ]; then
    # Not always the same ones are left.
    first=$((16#$(git -C "$SRC" rev-parse --short=6 'queue^{tree}') % ${#topics[@]}))
    topics=("${topics[@]:first}" "${topics[@]:0:first}")
fi
src=$BUILD/every.d/src obj=$BUILD/every.d/obj
if [ ! -e "$src/.git" ]; then
    mkdir -p "${src%/src}"
    add_worktree "$src" "$base"
fi
touch "$results"
light=$(mktemp -d "$BUILD/every.XXXXXX")
cleanup() {
    rm -rf "$light"
    git -C "$SRC" worktree prune
}
trap cleanup EXIT
# The commits of build/src as the export would write them.
from=$base
last=$(series_topics | tail -n 1)
while read -r topic; do
    to=topic/$topic
    [ "$topic" != "$last" ] || to=queue
    format_patches "$SRC" "$light/patches/$topic" "$from..$to"
    from=$to
done < <(series_topics)

# A light work tree at this commit; in a used one files may stand that a sparse
# checkout does not dare to remove.
at_light() { # COMMIT
    [ "$(git -C "$light/tree" rev-parse HEAD 2>/dev/null)" != "$1" ] || return 0
    rm -rf "$light/tree"
    light_worktree "$light/tree" "$1"
}

# topic_commits TOPIC: its commits on the base and what it needs, as 'git am'
# of the mails would make them.
topic_commits() {
    local topic patch sum parent=$base known
    while read -r topic; do
        for patch in "$light/patches/$topic"/*.patch; do
            sum=$(sha256_of "$patch")
            known=$(journal_find "$parent" "$sum")
            if [ -z "$known" ] || ! git -C "$SRC" cat-file -e "$known" 2>/dev/null; then
                at_light "$parent"
                qam "$light/tree" "$patch" >/dev/null 2>&1 ||
                    die "$topic/${patch##*/} does not apply to the base and what $1 needs: name more in patches/$1/needs"
                known=$(git -C "$light/tree" rev-parse HEAD)
                journal_add "$parent" "$sum" "$known"
            fi
            parent=$known
            [ "$topic" != "$1" ] || echo "$known"
        done
    done < <(topic_with_needs "$1")
}

commits=()
declare -A ends # topics by their last commits
for topic in "${topics[@]}"; do
    list=$(topic_commits "$topic")
    mapfile -t -O "${#commits[@]}" commits <<<"$list"
    ends[${commits[-1]}]=$topic
done

if [ -n "$apply" ]; then
    note "${#topics[@]} topics with ${#commits[@]} patches apply to the base and what they need"
    exit 0
fi

test_commit() {
    qgit -C "$src" checkout -q -f --detach "$1"
    "$ROOT/ci/build.sh" --variant every >"$log" 2>&1 &&
        "$ROOT/ci/helpers/unit_tests.py" "$obj" "$BUILD/every-unit.passed" \
            >"$log" 2>&1
}

# test_topic TOPIC: the qtests that it names, on its last commit's build.
test_topic() {
    local file=$ROOT/patches/$1/tests name args
    [ -f "$file" ] || return 0
    while read -r name args; do
        # shellcheck disable=SC2086 # words of their own
        (cd "$obj" && QTEST_QEMU_BINARY=./qemu-system-x86_64 QTEST_QEMU_IMG=./qemu-img \
            timeout 1800 "tests/qtest/$name" --tap $args </dev/null) \
            >"$log" 2>&1 || return
        tap_passed "$log" || return
    done < <(sed -e 's/#.*//' -e '/^ *$/d' "$file")
}

# What a result depends on, beside the tree
host=$(
    cat "$ROOT/ci/build.sh" "$ROOT/ci/helpers/unit_tests.py"
    cc --version 2>&1 || :
    [ ! -w /dev/kvm ] || echo kvm
)

# result TREE TOPIC: the line that says that it passed
result() {
    local tests=$ROOT/patches/$2/tests
    [ -z "$2" ] || [ ! -f "$tests" ] || tests=$(cat "$tests")
    echo "$1 pass ${2:--} $(printf '%s\n' "$host" "${2:+$tests}" | sha256sum | cut -c1-16)"
}

total=${#commits[@]} i=0 bad=0 left=0
# Of the last step: the build, the unit tests or one of the qtests
log=$BUILD/every-patch.log
for commit in "${commits[@]}"; do
    i=$((i + 1))
    tree=$(git -C "$SRC" rev-parse "$commit^{tree}")
    subject=$(git -C "$SRC" log -1 --format=%s "$commit")
    topic=${ends[$commit]:-}
    line=$(result "$tree" "$topic")
    if grep -qxF "$line" "$results"; then
        note "[$i/$total] passed before: $subject"
        continue
    fi
    if [ -n "$minutes" ] && [ "$SECONDS" -ge $((minutes * 60)) ]; then
        left=$((left + 1))
        continue
    fi
    start=$SECONDS
    if test_commit "$commit" && { [ -z "$topic" ] || test_topic "$topic"; }; then
        echo "$line" >>"$results"
        note "[$i/$total] pass: $subject ($((SECONDS - start)) s)"
    else
        bad=$((bad + 1))
        note "[$i/$total] FAIL: $subject (log: build/every-patch.log)"
        log_says "$log"
        [ -n "$keep" ] || break
    fi
done
[ "$left" = 0 ] || note "$left of $total commits were not tested: $minutes minutes are over"
[ "$bad" = 0 ] || die "$bad of $total commits do not build or pass: mend them in build/src with git rebase -i, or name what they need in patches/TOPIC/needs"
