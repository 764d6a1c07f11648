#!/usr/bin/env bash
# Put the queue on another QEMU, topic by topic, and say how that goes.
set -euo pipefail
# shellcheck source=ci/lib/env.sh
. "$(dirname "$0")/lib/env.sh"

usage() {
    cat <<'EOF'
examples:
  ci/rebase.sh --repo ~/qemu --onto origin/master    a clone of QEMU's git
  ci/rebase.sh --repo ~/qemu --onto v11.0.0 --survey
  ci/rebase.sh --tarball qemu-11.1.0.tar.xz
  ci/rebase.sh --debian trixie                       Debian's source of a suite
  ci/rebase.sh --continue v11.0.0                    after a conflict was resolved
  ci/rebase.sh --compile v11.0.0                     what the queue touches, there

Each commit is picked with a three-way merge.  At a conflict the run stops:
resolve it in build/rebase.d/NAME/src, 'git add' it there, and --continue.  git
keeps the resolution and repeats it when it meets the same conflict again, on a
newer base as well.  With --survey nothing stops: where a commit conflicts its
own side is taken, so that the commits behind it are judged by themselves; the
result is good for counting only.

The result is branches rebase/NAME/TOPIC in build/src, each at its topic's end,
and a table: for each topic how many commits apply as they are (clean), with
other lines around them (moved), after a resolution (resolved) or not (conflict),
and how many the new base has already (obsolete), with the new base's commits
that changed the lines in question.  ci/mail.py TOPIC --base NAME makes mails of
it; patches/ stays untouched.

options:
  --repo DIR --onto REF   a commit of a QEMU clone
  --tarball FILE          a QEMU source tarball
  --debian SUITE          Debian's qemu source of that suite, fetched with apt
  --topic T               topic T and the topics it needs
  --survey                don't stop at a conflict
  --continue NAME         go on with a rebase that stopped
  --abort NAME            drop a rebase and its branches
  --compile NAME          build the objects of all .c files that it touches
  --show N                lines shown of each conflict (default: 20)

Exit status: 0 every commit is on the new base, 1 some conflict or don't compile,
2 wrong use.
EOF
}

repo='' onto='' tarball='' debian='' topic='' survey='' show=20
mode='' name=''
while [ $# -gt 0 ]; do
    case $1 in
    --help | -h)
        usage
        exit 0
        ;;
    --repo | --onto | --tarball | --debian | --topic | --show)
        [ $# -gt 1 ] || usage_error "$1 needs a value"
        declare "${1#--}=$2"
        shift
        ;;
    --continue | --abort | --compile)
        [ $# -gt 1 ] || usage_error "$1 needs the name of a rebase"
        [ -z "$mode" ] || usage_error "$1 and --$mode don't go together"
        mode=${1#--} name=$2
        shift
        ;;
    --survey) survey=1 ;;
    *) usage_error "unknown option '$1'" ;;
    esac
    shift
done
[ -z "$topic" ] || check_topic "$topic"
[[ $show =~ ^[1-9][0-9]*$ ]] || usage_error "--show '$show' is no number"
if [ -n "$mode" ]; then
    [ -z "$repo$onto$tarball$debian$topic$survey" ] ||
        usage_error "--$mode takes nothing but the name of a rebase"
    [[ $name =~ ^[A-Za-z0-9][A-Za-z0-9._+-]*$ ]] || usage_error "'$name' is no name of a rebase"
else
    [ -n "$repo$tarball$debian" ] || usage_error "rebase onto what: --repo, --tarball or --debian"
    [ -z "$repo" ] || [ -n "$onto" ] || usage_error "--repo needs --onto REF"
fi
[ ! -d "$repo" ] || repo=$(cd "$repo" && pwd)
[ -z "$tarball" ] || [ -f "$tarball" ] || die "--tarball $tarball: no such file" 2
base=$(git -C "$SRC" rev-parse -q --verify refs/thrift/base 2>/dev/null) ||
    die "there is no build/src: run ./configure-wrapper.sh first"
git -C "$SRC" rev-parse -q --verify refs/heads/queue >/dev/null ||
    die "the queue is not applied: run ci/apply.sh"
lock_build
# Scratch of this run alone; what a later one goes on with is in $place.
work=$(mktemp -d "$BUILD/rebase.XXXXXX")
trap 'rm -rf "$work"' EXIT

# Where a rebase is kept: its work tree, 'TOPIC COMMIT' of what is to be picked
# still, and 'TOPIC COMMIT HOW' of what was dealt with.
set_place() {
    place=$BUILD/rebase.d/$name
    tree=$place/src todo=$place/todo results=$place/results
}

drop() {
    local ref
    rm -rf "$place"
    git -C "$SRC" worktree prune
    git -C "$SRC" for-each-ref --format='%(refname)' "refs/heads/rebase/$name/" \
        "refs/thrift/rebase/$name" |
        while read -r ref; do git -C "$SRC" update-ref -d "$ref"; done
}

# target_commit: what to rebase onto, as $target, and a name for it.
target_commit() {
    if [ -n "$debian" ]; then
        note "fetching Debian's qemu source of $debian"
        mkdir "$work/deb"
        (cd "$work/deb" && "$ROOT/ci/helpers/apt_private.py" deb-src "$debian" \
            apt-get -q source --download-only "qemu/$debian") >"$work/log" 2>&1 ||
            die "Debian's source of $debian could not be fetched: $(grep -m1 -E '^E:|error:' "$work/log")"
        tarball=$(echo "$work"/deb/qemu_*.orig.tar.xz)
    fi
    if [ -n "$tarball" ]; then
        name=$(basename "$tarball" | sed -E -e 's/\.(orig\.)?tar\..*//' -e 's/[^A-Za-z0-9._+-]+/-/g')
        note "importing $(basename "$tarball")"
        target=$(import_tarball "$tarball" "$work" "$name")
        return
    fi
    name=$(basename "$onto" | sed -E 's/[^A-Za-z0-9._+-]+/-/g')
    # A fetch takes branches and whole commit ids, but no abbreviated ones.
    target=$(qgit -C "$repo" rev-parse -q --verify "$onto^{commit}" 2>/dev/null) || target=$onto
    qgit -C "$SRC" fetch -q --no-tags --update-shallow "$repo" "$target" 2>"$work/log" ||
        die "$repo has no $onto: $(head -n 1 "$work/log")"
    target=$(git -C "$SRC" rev-parse 'FETCH_HEAD^{commit}')
}

start() {
    local t from to list
    need_space "$BUILD" 2000
    target_commit
    set_place
    if [ -s "$todo" ] && [ ! -e "$place/survey" ]; then
        die "a rebase onto $name is under way: --continue $name, or --abort $name"
    fi
    drop
    mkdir -p "$place"
    # A whole work tree: three-way merges want the files.
    add_worktree "$tree" "$target"
    git -C "$SRC" update-ref "refs/thrift/rebase/$name" "$target"
    [ -z "$survey" ] || touch "$place/survey"
    list=$(if [ -n "$topic" ]; then topic_with_needs "$topic"; else series_topics; fi)
    from=$base
    while read -r t; do
        to=refs/heads/topic/$t
        [ "$t" != "$last" ] || to=refs/heads/queue
        if grep -qxF -- "$t" <<<"$list"; then
            git -C "$SRC" rev-list --reverse "$from..$to" | sed "s|^|$t |"
        fi
        from=$to
    done < <(series_topics) >"$todo"
    cp "$todo" "$place/all"
    : >"$results"
    : >"$place/since"
}

# history: the new base's commits since the queue's release was branched off,
# in $place/history; empty where it has no history.
history() {
    local from
    from=$(git -C "$tree" log --format=%H -G"^${QEMU_VERSION%.*}\.0\$" \
        "refs/thrift/rebase/$name" -- VERSION | tail -n 1)
    [ -z "$from" ] || git -C "$tree" rev-list --no-merges "$from..refs/thrift/rebase/$name"
}

# upstream_of FILE [FROM,TO]: those that changed these lines of HEAD's FILE, or
# where none of them did the last three that changed FILE.
upstream_of() {
    local blamed=
    [ -s "$place/history" ] || return 0
    [ -z "${2:-}" ] || blamed=$(git -C "$tree" blame -l -s -L "$2" HEAD -- "$1" 2>/dev/null |
        cut -c1-40 | sort -u | grep -xFf "$place/history") || true
    [ -n "$blamed" ] || blamed=$(git -C "$tree" log -n 3 --no-merges --format=%H \
        "$(tail -n 1 "$place/history")..refs/thrift/rebase/$name" -- "$1")
    [ -z "$blamed" ] || git -C "$tree" log --no-walk --format='%h %s' --stdin <<<"$blamed"
}

# conflict_lines FILE: the lines of HEAD's FILE that conflict, as FROM,TO.
conflict_lines() {
    awk '/^<<<<<<< / { from = n + 1; next }
        /^=======$/ && from { skip = 1; next }
        /^>>>>>>> / && skip { skip = 0; if (n >= from) print from "," n; from = 0; next }
        !skip { n++ }' "$tree/$1"
}

show_conflict() {
    local file range
    git -C "$tree" diff --diff-filter=U | sed -n "1,${show}s/^/    /p"
    while read -r file; do
        echo "    CONFLICT: $file"
        {
            range=
            [ ! -f "$tree/$file" ] || range=$(conflict_lines "$file")
            while read -r range; do upstream_of "$file" "$range"; done <<<"$range"
        } | sort -u | tee -a "$work/met" | sed 's/^/        /'
    done < <(git -C "$tree" diff --name-only --diff-filter=U)
}

patch_id() {
    git -C "$tree" diff-tree -p "$1" | git patch-id --stable | cut -d' ' -f1
}

rr() { # git with the resolutions that it kept
    qgit -C "$tree" -c rerere.enabled=true -c rerere.autoUpdate=true \
        -c core.commentChar='%' "$@"
}

done_with() { # TOPIC COMMIT HOW
    i=$((i + 1))
    echo "[$i/$total] $1: $(git -C "$SRC" log -1 --format=%s "$2"): $3"
    printf '%s %s %s\n' "$1" "$2" "$3" >>"$results"
    sed -i 1d "$todo"
    git -C "$SRC" update-ref "refs/heads/rebase/$name/$1" "$(git -C "$tree" rev-parse HEAD)"
}

# commit_pick TOPIC COMMIT: what was picked is without conflicts now.
commit_pick() {
    if git -C "$tree" diff --cached --quiet HEAD; then
        rr cherry-pick --skip
        done_with "$1" "$2" obsolete
        return
    fi
    GIT_EDITOR=true rr cherry-pick --continue >/dev/null 2>"$work/log" ||
        die "git cherry-pick --continue: $(head -n 1 "$work/log")"
    done_with "$1" "$2" resolved
}

# pick TOPIC COMMIT.  Returns: 1 if it conflicts and has to be resolved.
pick() {
    local how=moved
    if rr cherry-pick "$2" >"$work/log" 2>&1; then
        [ "$(patch_id "$2")" != "$(patch_id HEAD)" ] || how=clean
        done_with "$1" "$2" $how
        return
    fi
    git -C "$tree" rev-parse -q --verify CHERRY_PICK_HEAD >/dev/null ||
        die "git cherry-pick: $(tail -n 1 "$work/log")"
    if [ -z "$(git -C "$tree" ls-files -u)" ]; then
        commit_pick "$1" "$2"
        return
    fi
    echo "[$((i + 1))/$total] $1: $(git -C "$SRC" log -1 --format=%s "$2"): CONFLICT"
    : >"$work/met"
    show_conflict
    sed "s|^|$1 |" "$work/met" >>"$place/since"
    [ -n "$survey" ] || return 1
    qgit -C "$tree" cherry-pick --abort
    if qgit -C "$tree" cherry-pick -X theirs "$2" >"$work/log" 2>&1; then
        done_with "$1" "$2" conflict
        return
    fi
    qgit -C "$tree" cherry-pick --abort
    done_with "$1" "$2" 'conflict, left out'
}

# table: how each topic went, and the new base's commits that it met.
table() {
    local t
    printf '%-22s %7s %6s %6s %9s %9s %9s\n' topic commits clean moved resolved conflict obsolete
    cut -d' ' -f1 "$place/all" | uniq | while read -r t; do
        awk -v t="$t" '$1 == t { sub(",", "", $3); n++; how[$3]++ }
            END {
                printf "%-22s %7d %6d %6d %9d %9d %9d\n", t, n, how["clean"],
                       how["moved"], how["resolved"], how["conflict"], how["obsolete"]
            }' "$results"
        sed -n "s|^$t |    |p" "$place/since" | sort -u
    done
}

run() {
    local t commit
    total=$(wc -l <"$place/all") i=$(wc -l <"$results")
    [ -e "$place/history" ] || history >"$place/history"
    while read -r t commit <"$todo"; do
        pick "$t" "$commit" && continue
        note "resolve it in ${tree#"$ROOT/"}, 'git add' the files there, or 'git cherry-pick --skip'" \
            "if $name has the change already; then ci/rebase.sh --continue $name"
        die "$((total - i)) of $total commits are left to be put on $name"
    done
    git -C "$SRC" update-ref "refs/heads/rebase/$name/queue" "$(git -C "$tree" rev-parse HEAD)"
    table | tee "$place/table"
    ! grep -q ' conflict' "$results" ||
        die "$(grep -c ' conflict' "$results") of $total commits conflict with $name"
    note "$total commits on $name: branches rebase/$name/TOPIC in build/src"
}

# go_on: what a run stopped at is resolved, committed or skipped.
go_on() {
    local t commit file tip
    set_place
    if [ ! -s "$todo" ] || [ -e "$place/survey" ]; then
        die "no rebase onto $name waits to be continued"
    fi
    read -r t commit <"$todo"
    total=$(wc -l <"$place/all") i=$(wc -l <"$results")
    file=$(git -C "$tree" diff --name-only | head -n 1)
    [ -z "$file" ] || die "${tree#"$ROOT/"}/$file is not resolved: 'git add' it there"
    if git -C "$tree" rev-parse -q --verify CHERRY_PICK_HEAD >/dev/null; then
        commit_pick "$t" "$commit"
        return
    fi
    tip=$(tail -n 1 "$results" | cut -d' ' -f1)
    tip=$(git -C "$SRC" rev-parse -q --verify "refs/heads/rebase/$name/$tip" ||
        git -C "$SRC" rev-parse "refs/thrift/rebase/$name")
    if [ "$(git -C "$tree" rev-parse HEAD)" = "$tip" ]; then
        done_with "$t" "$commit" obsolete
    else
        done_with "$t" "$commit" resolved
    fi
}

compile() {
    local count sub
    set_place
    [ -d "$tree" ] || die "there is no rebase onto $name: ci/rebase.sh --repo or --tarball makes one"
    # What a git tree lacks, and configure would fetch, the release has.
    for sub in "$SRC"/subprojects/*/; do
        [ -d "$sub" ] || continue
        sub=${sub%/}
        # git leaves an empty repository where it could not fetch.
        if [ -z "$(find "$tree/subprojects/${sub##*/}" -type f -not -path '*/.git/*' -print -quit 2>/dev/null)" ]; then
            rm -rf "$tree/subprojects/${sub##*/}"
            cp -a "$sub" "$tree/subprojects/"
        fi
    done
    "$ROOT/ci/build.sh" --variant "rebase-$name" --target build.ninja
    git -C "$tree" diff --name-only "refs/thrift/rebase/$name" HEAD -- '*.c' |
        /usr/bin/python3 -c '
import json, os, sys
obj = sys.argv[1]
wanted = {os.path.normpath(os.path.join(obj, "../src", line.strip()))
          for line in sys.stdin}
with open(os.path.join(obj, "compile_commands.json"), encoding="utf-8") as file:
    for unit in json.load(file):
        if os.path.normpath(os.path.join(obj, unit["file"])) in wanted:
            print(unit["output"])' "$place/obj" | sort -u >"$place/objects"
    count=$(wc -l <"$place/objects")
    [ "$count" != 0 ] || die "nothing that $name compiles is touched"
    note "compiling $count objects (log: build/rebase.d/$name/compile.log)"
    if ! xargs ninja -k 0 -C "$place/obj" <"$place/objects" >"$place/compile.log" 2>&1; then
        grep -E 'error:|^FAILED' "$place/compile.log" | head -n "$show" >&2 || true
        die "$(grep -c '^FAILED' "$place/compile.log") of $count objects don't compile on $name"
    fi
    note "$count objects that the queue touches compile on $name"
}

last=$(series_topics | tail -n 1)
case $mode in
abort)
    set_place
    [ -e "$place" ] || die "there is no rebase onto $name"
    drop
    ;;
compile) compile ;;
continue)
    go_on
    run
    ;;
*)
    start
    run
    ;;
esac
