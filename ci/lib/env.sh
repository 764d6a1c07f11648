# Shared by every stage in ci/: where things are, the pins, git without the
# user's configuration, messages.  Sourced, not run.
# shellcheck shell=bash disable=SC2034

export LC_ALL=C TZ=UTC
umask 022
# A command that fails in $(...) ends the script as elsewhere.
shopt -s inherit_errexit
unset CDPATH

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
BUILD=$ROOT/build
SRC=$BUILD/src
ME=$(basename "$0")

# shellcheck source=ci/pins
. "$ROOT/ci/pins"

# die MESSAGE [STATUS]: one line that says what is wrong and what to do.
# Status 1: a problem was found; 2: wrong use.
die() {
    printf '%s: error: %s\n' "$ME" "$1" >&2
    exit "${2:-1}"
}

note() {
    printf '%s: %s\n' "$ME" "$*" >&2
}

# log_says LOG: on stderr the lines of a log that say what went wrong, or the
# last ones if none does.  Where a run's logs are not kept these are all that
# is left of them.  ci/check has the same words.
log_says() {
    local said
    said=$(grep -aE '^FAILED|^E: |[Ee]rror[: ]|ERROR|fatal:| FAIL |^not ok|undefined reference|No space left' "$1") ||
        said=$(grep -av '^ *$' "$1") || return 0
    tail -n 8 <<<"$said" | cut -c1-200 | sed 's/^/    /' >&2
}

usage_error() {
    die "$1 (see $ME --help)" 2
}

# only_help ARGS...: for a command that takes no more than --help.
only_help() {
    case ${1:-} in
    '') ;;
    --help | -h)
        usage
        exit 0
        ;;
    *) usage_error "unknown option '$1'" ;;
    esac
}

# Everything a user's git configuration or environment could change is kept
# out, and the committer is fixed: the same queue gives the same commit ids
# everywhere.
unset "${!GIT_@}"
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null
export GIT_CONFIG_NOSYSTEM=1 GIT_TERMINAL_PROMPT=0 GIT_ADVICE=0

qgit() {
    GIT_COMMITTER_NAME='qemu-thrift queue' \
        GIT_COMMITTER_EMAIL='queue@qemu-thrift.invalid' \
        GIT_COMMITTER_DATE="$QEMU_BASE_DATE" \
        git -c core.hooksPath=/dev/null -c core.autocrlf=false \
        -c core.fileMode=true -c core.excludesFile=/dev/null \
        -c core.attributesFile=/dev/null -c commit.gpgSign=false \
        -c gc.auto=0 -c advice.detachedHead=false "$@"
}

need_cmd() {
    command -v "$1" >/dev/null ||
        die "'$1' is not installed: run ci/deps.sh, or apt-get install $2"
}

# series_patches [TOPIC]: the patches in order: all of them, or those of TOPIC
# and of the topics that it needs.
series_patches() {
    local patch topics=
    [ -z "${1:-}" ] || topics=$(topic_with_needs "$1")
    while read -r patch; do
        [ -z "$topics" ] || grep -qxF -- "${patch%%/*}" <<<"$topics" || continue
        printf '%s\n' "$patch"
    done < <(sed -e 's/#.*//' -e 's/[[:space:]]*$//' -e '/^$/d' "$ROOT/series")
}

# topic_with_needs TOPIC: the topics that it needs, theirs too, and itself, in
# the order of series.  One without a line '# needs:' needs all before it.
topic_with_needs() {
    awk -v topic="$1" '
        /^# topic: / { n++; name[n] = $3; needs[n] = before; before = before " " $3 }
        /^# needs: / { needs[n] = substr($0, 10) }
        END {
            want[topic] = 1
            for (i = n; i > 0; i--) {
                if (want[name[i]]) {
                    k = split(needs[i], list, " ")
                    for (j = 1; j <= k; j++) want[list[j]] = 1
                }
            }
            for (i = 1; i <= n; i++) if (want[name[i]]) print name[i]
        }' "$ROOT/series"
}

series_topics() {
    sed -n 's/^# topic: //p' "$ROOT/series"
}

# check_topic TOPIC: refuse a topic that the queue does not have.
check_topic() {
    series_topics | grep -qxF -- "$1" ||
        die "no topic '$1' in series; it has: $(series_topics | paste -sd' ')" 2
}

# need_space DIR MIB: refuse to start what cannot finish.
need_space() {
    local free
    mkdir -p "$1" || die "cannot make $1: check the rights of its folder"
    free=$(df -Pm "$1" | awk 'NR == 2 { print $4 }')
    [ "$free" -ge "$2" ] ||
        die "$1 has $free MiB free and $2 are needed: make room and run again"
}

# qam DIR PATCH: git am as the queue means it, without fuzz or 3-way merge.
qam() {
    qgit -C "$1" am -q --keep-cr --no-3way --no-gpg-sign --no-signoff \
        --no-scissors "$2"
}

# format_patches DIR OUT REVS...: files that depend on nothing but the commits.
format_patches() {
    local dir=$1 out=$2
    shift 2
    qgit -C "$dir" -c diff.suppressBlankEmpty=false -c diff.submodule=short \
        format-patch -q --zero-commit --no-signature -N \
        --full-index --no-renames --diff-algorithm=myers --stat=72 \
        --no-base -U3 --src-prefix=a/ --dst-prefix=b/ --no-signoff \
        --no-from --no-attach --suffix=.patch --subject-prefix=PATCH \
        --no-cover-letter --no-thread --no-to --no-cc --no-add-header \
        --no-notes --encode-email-headers --encoding=UTF-8 \
        --filename-max-length=64 --inter-hunk-context=0 --indent-heuristic \
        --no-ext-diff -O/dev/null --no-color -o "$out" "$@"
}

sha256_of() {
    sha256sum <"$1" | cut -d' ' -f1
}

# The journal says which commit a patch (by sha256) gave on which parent, so
# that nothing is applied twice and a developer's own commits are known again.
journal_find() { # PARENT SHA256
    awk -v p="$1" -v s="$2" '$1 == p && $2 == s { c = $3 } END { print c }' \
        "$SRC/.git/thrift-journal" 2>/dev/null || true
}

journal_add() { # PARENT SHA256 COMMIT
    printf '%s %s %s\n' "$1" "$2" "$3" >>"$SRC/.git/thrift-journal"
}

# One writer at a time in build/.  A process that ends with this shell holds the
# lock: what this shell starts would inherit it, and may go on for longer.
lock_build() {
    local holder said
    mkdir -p "$BUILD"
    [ -z "${THRIFT_LOCKED:-}" ] || return 0
    # Ctrl-C is for the others, until they are done.
    exec {holder}< <(trap '' INT TERM HUP &&
        exec setpriv --pdeathsig KILL flock -n -F "$BUILD/.lock" \
            sh -c 'echo locked; exec >&- sleep infinity' </dev/null 2>/dev/null 3>&- 8>&-)
    read -r said <&"$holder" || true
    exec {holder}<&-
    [ "$said" = locked ] || die "another run works in build/: wait for it to end"
    export THRIFT_LOCKED=1
}

# add_worktree [OPTION] DIR COMMIT: a work tree of build/src where none is.  One
# that was killed while it was made is locked, which prune leaves alone and two
# -f take over.
add_worktree() {
    git -C "$SRC" worktree prune
    qgit -C "$SRC" worktree add -q -f -f --detach "$@"
}

# light_worktree DIR COMMIT: a work tree of build/src without files, but for the
# attributes, which have a say in what a diff looks like.  git am brings in what
# a patch touches, so this takes no time and no space.
light_worktree() {
    add_worktree --no-checkout "$1" "$2"
    qgit -C "$1" sparse-checkout set --no-cone /.gitattributes
    qgit -C "$1" read-tree -mu HEAD
}

# import_tarball FILE TMP MESSAGE: a commit of what a source tarball holds, the
# same id on every machine; TMP is an empty folder for scratch.
import_tarball() {
    local tree
    mkdir "$2/tree"
    tar -xf "$1" -C "$2/tree" --strip-components=1 --no-same-owner ||
        die "$1 could not be unpacked: is it whole, is the disk full?"
    # -f: .gitignore would drop files that the tarball has.
    GIT_INDEX_FILE=$2/index qgit --git-dir="$SRC/.git" --work-tree="$2/tree" \
        add -A -f .
    tree=$(GIT_INDEX_FILE=$2/index qgit --git-dir="$SRC/.git" write-tree)
    rm -rf "$2/tree"
    GIT_AUTHOR_NAME='qemu-thrift queue' GIT_AUTHOR_DATE=$QEMU_BASE_DATE \
        GIT_AUTHOR_EMAIL='queue@qemu-thrift.invalid' \
        qgit -C "$SRC" commit-tree -m "$3" "$tree"
}

# tap_passed FILE: whether the TAP there is that of a program that ran all its
# cases; if not, why is added to the file
tap_passed() {
    PYTHONPATH=$ROOT/ci PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 - "$1" <<'END'
import pathlib
import sys
from lib.tool import tap_trouble
path = pathlib.Path(sys.argv[1])
output = path.read_text(encoding="utf-8", errors="replace")
trouble = tap_trouble(output.replace("\r", ""))
if trouble:
    with path.open("a", encoding="utf-8") as file:
        file.write(f"error: {trouble}\n")
sys.exit(bool(trouble))
END
}
