#!/usr/bin/env bash
# Build every commit of the queue and run the unit tests on it.
set -euo pipefail
# shellcheck source=ci/env.sh
. "$(dirname "$0")/env.sh"

usage() {
    cat <<'EOF'
examples:
  ci/every-patch.sh                     each commit that was not tested yet
  ci/every-patch.sh --topic dirty-memory
  ci/every-patch.sh --forget            test all of them again

Results are kept by tree id in build/every-patch.results: a commit whose tree
passed once is not built again, whatever became of its message.

options:
  --topic T      only the commits of topic T
  --keep-going   test the commits after one that failed
  --forget       drop the kept results

Exit status: 0 each commit builds and passes, 1 one does not, 2 wrong use.
EOF
}

topic='' keep='' results=$BUILD/every-patch.results
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
    --keep-going) keep=1 ;;
    --forget) rm -f "$results" ;;
    *) usage_error "unknown option '$1'" ;;
    esac
    shift
done
base=$(git -C "$SRC" rev-parse -q --verify refs/thrift/base 2>/dev/null) ||
    die "there is no build/src: run ./configure-wrapper.sh first"
git -C "$SRC" rev-parse -q --verify refs/heads/queue >/dev/null ||
    die "the queue is not applied: run ci/apply.sh"
lock_build
range=$base..queue
if [ -n "$topic" ]; then
    before=$(series_topics | grep -B1 -xF -- "$topic" | head -n 1)
    [ "$before" = "$topic" ] && range=$base..topic/$topic || range=topic/$before..topic/$topic
fi
mapfile -t commits < <(git -C "$SRC" rev-list --reverse "$range")
src=$BUILD/every.d/src obj=$BUILD/every.d/obj
if [ ! -e "$src/.git" ]; then
    mkdir -p "${src%/src}"
    git -C "$SRC" worktree prune
    qgit -C "$SRC" worktree add -q --detach "$src" "$base"
fi
touch "$results"

test_commit() {
    qgit -C "$src" checkout -q -f --detach "$1"
    "$ROOT/ci/build.sh" --variant every 2>/dev/null &&
        "$ROOT/ci/unit_tests.py" "$obj" "$BUILD/every-unit.passed" \
            >"$BUILD/every-unit.log" 2>&1
}

total=${#commits[@]} i=0 bad=0
for commit in "${commits[@]}"; do
    i=$((i + 1))
    tree=$(git -C "$SRC" rev-parse "$commit^{tree}")
    subject=$(git -C "$SRC" log -1 --format=%s "$commit")
    if grep -q "^$tree pass" "$results"; then
        note "[$i/$total] passed before: $subject"
        continue
    fi
    start=$SECONDS
    if test_commit "$commit"; then
        echo "$tree pass $subject" >>"$results"
        note "[$i/$total] pass: $subject ($((SECONDS - start)) s)"
    else
        bad=$((bad + 1))
        note "[$i/$total] FAIL: $subject (logs: build/every-build.log, build/every-unit.log)"
        grep -hE -A8 '^FAILED' "$BUILD/every-build.log" 2>/dev/null | head -n 12 >&2 || true
        [ -n "$keep" ] || break
    fi
done
[ "$bad" = 0 ] || die "$bad of $total commits do not build or pass: mend them in build/src with git rebase -i"
