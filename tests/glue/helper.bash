# Shared by the glue tests: a tiny stand-in for QEMU's sources, a checkout of
# the queue's tools around it, and what the tests say in short.
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # used by the tests; set by bats

bats_require_minimum_version 1.5.0

# Nothing of the outer git, of the user or of the network gets in, but for the
# QEMU that ci/mutants wants to be tested.
qemu=${THRIFT_QEMU:-}
unset "${!GIT_@}" "${!THRIFT_@}" CDPATH
[ -z "$qemu" ] || export THRIFT_QEMU=$qemu
GLUE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
MAIN=$(cd "$GLUE/../.." && pwd -P)
FIXTURES=$BATS_SUITE_TMPDIR/fixtures
DIST=$FIXTURES/dist
TARBALL=$DIST/tiny_1.0.orig.tar.xz
UPSTREAM=$FIXTURES/upstream
export LC_ALL=C TZ=UTC PYTHONDONTWRITEBYTECODE=1
export PATH=$FIXTURES/stubs:$PATH

# Programs that would reach the network or change the system fail; a fake
# ninja "builds"; there is always space.
make_stubs() { # DIR
    local name
    mkdir -p "$1"
    for name in apt-get apt-cache sudo curl wget ssh; do
        printf '#!/bin/sh\necho "E: %s is not for tests" >&2\nexit 100\n' "$name" >"$1/$name"
    done
    cat >"$1/df" <<'END'
#!/bin/sh
echo 'Filesystem 1048576-blocks Used Available Capacity Mounted on'
echo "tiny 999999 1 ${FREE_MIB:-99999} 1% /"
END
    cat >"$1/ninja" <<'END'
#!/bin/sh
# ninja -C OBJ TARGET
cd "$2" || exit 1
if grep -q '^#error' ../src/migration/ram.c; then
    printf 'FAILED: ram.c.o\nram.c:1: error: #error\n'
    exit 1
fi
cat >qemu-system-x86_64 <<EOT
#!/bin/sh
if [ "\$1" = --version ]; then
    echo "QEMU emulator version 1.0 (\$(cat $PWD/pkgversion))"
    exit 0
fi
for arg; do
    case \$arg in file,*path=*) echo 'No bootable device.' >"\${arg##*path=}" ;; esac
done
exec sleep 600
EOT
chmod +x qemu-system-x86_64
echo '[100/100] built'
END
    chmod +x "$1"/*
}

# What a release of QEMU would be: the tools need no more of it than this.
make_sources() { # DIR
    mkdir -p "$1"/migration "$1"/docs/devel "$1"/scripts
    echo 1.0 >"$1/VERSION"
    ln -s VERSION "$1/RELEASE"
    printf '*.bin\n/out/\n' >"$1/.gitignore"
    printf '*.c diff=cpp\n' >"$1/.gitattributes"
    echo 'ignored, but in the release' >"$1/data.bin"
    printf 'lines\r\nof DOS\r\n' >"$1/dos.txt"
    printf "project('tiny')\ndependency('blobs')\nsubdir('migration')\n" >"$1/meson.build"
    printf 'Migration\nM: Mary Keeper <mary@example.org>\nF: migration/\n' >"$1/MAINTAINERS"
    cat >"$1/migration/ram.c" <<'END'
/*
 * Pages and bits.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"

int count_dirty(const unsigned long *map, int bits)
{
    int i, n = 0;

    for (i = 0; i < bits; i++) {
        n += test_bit(i, map);
    }
    return n;
}

int first_dirty(const unsigned long *map, int bits)
{
    int i;

    for (i = 0; i < bits; i++) {
        if (test_bit(i, map)) {
            return i;
        }
    }
    return bits;
}
END
    printf 'Pages\n=====\n\nPages are counted.\n' >"$1/docs/pages.rst"
    cat >"$1/docs/devel/code-provenance.rst" <<'END'
Use of AI-generated content
~~~~~~~~~~~~~~~~~~~~~~~~~~~

TL;DR: read the tiny policy.

The increasing prevalence of more text.
END
    cat >"$1/scripts/checkpatch.pl" <<'END'
# Complains of two marker words, in the form of the real one with --terse.
my ($file, $n, $bad) = ($ARGV[-1], 0, 0);
open(my $patch, '<', $file) or exit 2;
while (<$patch>) {
    $n++;
    if (/^\+.*STYLE_WARNING/) { print "$file:$n: WARNING: a marker word\n"; }
    if (/^\+.*STYLE_ERROR/) { print "$file:$n: ERROR: a bad marker word\n"; $bad = 1; }
    if (/^\+.*STYLE_CRASH/) { print STDERR "out of order\n"; exit 3; }
}
exit $bad;
END
    cat >"$1/scripts/get_maintainer.pl" <<'END'
# Names people by the folder that a patch touches.
open(my $patch, '<', $ARGV[-1]) or exit 2;
my $text = join('', <$patch>);
print "Mary Keeper <mary\@example.org>\n" if $text =~ m{^\+\+\+ b/migration/}m;
print "Theo Tester <theo\@example.org>\n" if $text =~ m{^\+\+\+ b/tests/}m;
print "Dora Writer <dora\@example.org>\n" if $text =~ m{^\+\+\+ b/docs/}m;
print "qemu-devel\@nongnu.org\n";
END
    cat >"$1/configure" <<'END'
#!/bin/sh
# Stands in for configure and meson: notes its arguments and the version.
printf '%s\n' "$@" >configure.args
for arg; do
    case $arg in --with-pkgversion=*) echo "${arg#*=}" >pkgversion ;; esac
done
mkdir -p pyvenv/bin
cat >pyvenv/bin/meson <<'EOT'
#!/bin/sh
case $1 in
configure) echo "${2#*=}" >pkgversion ;;
introspect) echo '[{"name": "test-ram", "suite": ["qemu:unit"], "cmd": ["test-ram"]}]' ;;
test) ! grep -q broken_test "$3/../src/migration/ram.c" ;;
esac
EOT
chmod +x pyvenv/bin/meson
END
    chmod +x "$1/configure"
}

# The same bytes whenever and by whomever it is made.
pack() { # DIR TARBALL [TAR OPTIONS...]
    local dir=$1 out=$2
    shift 2
    tar -C "${dir%/*}" --sort=name --mtime=2026-01-01T00:00:00Z --owner=0 --group=0 \
        --numeric-owner "$@" -cf - "${dir##*/}" | xz -0 >"$out"
}

# The sources as a git repository, with a file that the tarball lacks.
make_upstream() { # SOURCES REPO
    cp -a "$1" "$2"
    mkdir "$2/pc-bios"
    echo blob >"$2/pc-bios/bios.txt"
    git init -q -b master "$2"
    git -C "$2" add -A -f
    GIT_AUTHOR_DATE=2026-01-01T00:00:00+0000 GIT_COMMITTER_DATE=2026-01-01T00:00:00+0000 \
        git -C "$2" commit -q -m 'Release 1.0'
}

write_pins() { # CHECKOUT TARBALL
    cat >"$1/ci/pins" <<END
# A tiny QEMU
QEMU_VERSION=1.0
QEMU_COMMIT=$(git -C "$UPSTREAM" rev-parse HEAD)
QEMU_TARBALL=$(basename "$2")
QEMU_TARBALL_SHA256=$(sha256sum <"$2" | cut -d' ' -f1)
QEMU_RELEASE_TARBALL=tiny-1.0.tar.xz
QEMU_RELEASE_SHA256=none
QEMU_DEBIAN_SOURCE=1.0-1
QEMU_BASE_DATE=2026-02-01T00:00:00+0000
END
}

# A checkout of the tools with pins, a fix-up and an empty queue.
make_checkout() { # DIR
    mkdir -p "$1/patches" "$1/tests" "$1/upstream"
    cp -a "$MAIN/ci" "$MAIN/configure-wrapper.sh" "$1/"
    rm -rf "$1/ci/__pycache__" "$1"/ci/tarball-fixups/*
    write_pins "$1" "$TARBALL"
    cat >"$1/ci/tarball-fixups/0001-do-without-blobs.patch" <<'END'
From 0000000000000000000000000000000000000000 Mon Sep 17 00:00:00 2001
From: Ada Tester <ada@example.com>
Date: Thu, 1 Jan 2026 00:00:00 +0000
Subject: [PATCH] meson: do without blobs

The tarball has none.
---
 meson.build | 1 -
 1 file changed, 1 deletion(-)

diff --git a/meson.build b/meson.build
--- a/meson.build
+++ b/meson.build
@@ -1,3 +1,2 @@
 project('tiny')
-dependency('blobs')
 subdir('migration')
END
    echo '# rule | what | reason' >"$1/ci/lint.allow"
    echo '# patch regex | message regex | reason' >"$1/ci/checkpatch.allow"
    printf 'base git\nbase have-one lack-one\nserver lack-server\ntest lack-test\n' >"$1/ci/packages"
    printf '[submodule "upstream"]\n\tpath = upstream\n\turl = ssh://tiny.invalid%s\n' "$UPSTREAM" >"$1/.gitmodules"
    printf '/build/\n__pycache__/\n' >"$1/.gitignore"
    printf '====\ntiny\n====\n' >"$1/README.rst"
    echo free >"$1/COPYING"
    echo none >"$1/tests/none"
    : >"$1/series"
    git init -q -b main "$1"
    git -C "$1" add -A
    git -C "$1" update-index --add --cacheinfo "160000,$(git -C "$UPSTREAM" rev-parse HEAD),upstream"
}

# commit_in TREE DAY AUTHOR MESSAGE: everything in TREE, with fixed dates.
commit_in() {
    git -C "$1" add -A
    GIT_AUTHOR_DATE=2026-03-${2}T12:00:00+0000 GIT_COMMITTER_DATE=2026-03-${2}T12:00:00+0000 \
        git -C "$1" -c core.hooksPath=/dev/null commit -q --author="$3" -m "$4"
}

# status_table TITLE ROW...: as patches/STATUS.rst has them
status_table() {
    printf '\n%s\n%s\n\n.. list-table::\n   :header-rows: 1\n\n' "$1" "${1//?/=}"
    printf '   * - Patch\n     - What\n'
    printf '   * - %s\n     - it counts\n' "${@:2}"
}

# Topic alpha with two patches, topic beta with one, as a developer makes them.
make_queue() { # CHECKOUT
    local src=$1/build/src
    "$1/ci/base.sh" --tarball "$TARBALL"
    "$1/ci/apply.sh"
    sed -i -e '12s/i++/i += BITS_PER_LONG/' -e '13s/test_bit(i, map)/ctpopl(map[BIT_WORD(i)])/' \
        "$src/migration/ram.c"
    commit_in "$src" 01 'Ada Tester <ada@example.com>' 'migration/ram: count pages by words

Looking at each bit takes 64 times as long as counting a whole word of
the map at once.'
    mkdir -p "$src/tests/unit"
    printf '/*\n * Words.\n *\n * SPDX-License-Identifier: GPL-2.0-or-later\n */\nint main(void)\n{\n    return 0;\n}\n' \
        >"$src/tests/unit/test-words.c"
    echo 'F: tests/unit/test-words.c' >>"$src/MAINTAINERS"
    commit_in "$src" 02 'Zoë Tester <zoe@example.com>' 'tests/unit: test the count by words

A map of any length has to give the same count as the naïve loop gave
before.'
    git -C "$src" branch topic/alpha
    echo 'They are counted by words.' >>"$src/docs/pages.rst"
    sed -i '27s,$, /* none */,' "$src/migration/ram.c"
    commit_in "$src" 03 'Ada Tester <ada@example.com>' 'docs: say how pages are counted

Readers of the figures want to know that whole words are counted and not
single bits.'
    git -C "$src" branch topic/beta
    "$1/ci/export.sh"
    printf 'migration: count faster\n\nCounting by words is faster.\n' >"$1/patches/alpha/cover.txt"
    printf 'docs: how it counts\n\nSays how it is counted.\n' >"$1/patches/beta/cover.txt"
    {
        printf '======\nStatus\n======\n'
        status_table Fixes 'alpha 1' 'beta'
        status_table Tests 'alpha 2'
        status_table 'How a rebase goes' alpha beta
    } >"$1/patches/STATUS.rst"
    git -C "$1" add -A -- . ':!upstream'
    git -C "$1" commit -q -m 'The queue'
}

# tiny KIND: a copy for this test; 'clone' has no build/, 'applied' has.
tiny() {
    REPO=$BATS_TEST_TMPDIR/repo
    SRC=$REPO/build/src
    export HOME=$BATS_TEST_TMPDIR/home
    mkdir -p "$HOME" "$BATS_TEST_TMPDIR/stubs"
    PATH=$BATS_TEST_TMPDIR/stubs:$PATH
    printf '[user]\n\tname = Dev Eloper\n\temail = dev@example.com\n' >"$HOME/.gitconfig"
    cp -a "$FIXTURES/$1" "$REPO"
    cd "$REPO" || return
}

# A user's git configuration that breaks whatever does not keep it out.
hostile_config() {
    local hook
    mkdir -p "$HOME/hooks"
    for hook in pre-commit commit-msg applypatch-msg pre-applypatch post-applypatch \
        prepare-commit-msg post-commit post-checkout pre-rebase reference-transaction; do
        printf '#!/bin/sh\nexit 1\n' >"$HOME/hooks/$hook"
    done
    chmod +x "$HOME"/hooks/*
    cat >"$HOME/.gitconfig" <<END
[user]
	name = Hos Tile
	email = hostile@example.com
[core]
	abbrev = 7
	autocrlf = true
	fileMode = false
	hooksPath = $HOME/hooks
	excludesFile = $HOME/excludes
	attributesFile = $HOME/attributes
[diff]
	noprefix = true
	context = 7
	renames = copies
	algorithm = patience
	mnemonicPrefix = true
[format]
	signature = hostile
	headers = "X-Hostile: yes\\n"
	useAutoBase = true
	signOff = true
	attach = true
	suffix = .mail
	from = true
	numbered = true
	coverLetter = true
	subjectPrefix = HOSTILE
	thread = true
	notes = true
[commit]
	gpgSign = true
[i18n]
	commitEncoding = ISO-8859-1
	logOutputEncoding = ISO-8859-1
[am]
	threeWay = true
	keepcr = true
[apply]
	whitespace = fix
[color]
	ui = always
END
    echo '*' >"$HOME/excludes"
    echo '* text eol=crlf' >"$HOME/attributes"
}

# Variables as a hook or a careless shell leaves them.
hostile_env() {
    export GIT_DIR=/nonexistent GIT_WORK_TREE=/nonexistent GIT_INDEX_FILE=/nonexistent/index
    export GIT_AUTHOR_NAME=Hostile GIT_AUTHOR_DATE=2001-01-01T00:00:00Z
    export GIT_COMMITTER_NAME=Hostile GIT_COMMITTER_DATE=2001-01-01T00:00:00Z
    export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=diff.noprefix GIT_CONFIG_VALUE_0=true
    export GIT_DIFF_OPTS=-u9 GIT_EXTERNAL_DIFF=/bin/false GIT_EDITOR=/bin/false
}

nice_env() {
    unset "${!GIT_@}"
}

# stub NAME: a program of this test only, from stdin, found before all others.
stub() {
    cat >"$BATS_TEST_TMPDIR/stubs/$1"
    chmod +x "$BATS_TEST_TMPDIR/stubs/$1"
}

# What can be said of the last 'run'.
says() { # TEXT
    [[ $output == *"$1"* ]] || {
        printf 'not said: %s\n--- but:\n%s\n' "$1" "$output"
        return 1
    }
}

never_says() { # TEXT
    [[ $output != *"$1"* ]] || {
        printf 'said: %s\n--- in:\n%s\n' "$1" "$output"
        return 1
    }
}

one_line() { # TEXT: the whole output is one line, an error, that has TEXT
    if [ "$(wc -l <<<"$output")" != 1 ] || [[ $output != *': error: '*"$1"* ]]; then
        printf 'not one line of error with %s\n--- but:\n%s\n' "$1" "$output"
        return 1
    fi
}

one_error() { # TEXT: among the progress there is one line of error, with TEXT
    if [ "$(grep -cE 'error:|fatal:' <<<"$output")" != 1 ] ||
        [[ $(grep ': error: ' <<<"$output") != *"$1"* ]]; then
        printf 'not one error with %s\n--- but:\n%s\n' "$1" "$output"
        return 1
    fi
}

# eventually CMD...: it is true before five minutes are over, however busy this
# host is.
eventually() {
    local end=$((SECONDS + 300))
    until "$@"; do
        [ "$SECONDS" -lt $end ] || {
            printf 'never came: %s\n' "$*"
            return 1
        }
        sleep 0.05
    done
}

same() { # A B
    [ "$1" = "$2" ] || {
        printf 'not the same:\n  %s\n  %s\n' "$1" "$2"
        return 1
    }
}

# golden NAME: compared with the last output.  GOLDEN_UPDATE=1 writes it anew.
golden() {
    [ -z "${GOLDEN_UPDATE:-}" ] || printf '%s\n' "$output" >"$GLUE/golden/$1.ref"
    printf '%s\n' "$output" | diff -u "$GLUE/golden/$1.ref" -
}

rev() { # REV, in build/src
    git -C "$SRC" rev-parse --verify -q "$1"
}

# Everything under a path as one checksum.
sum() { # PATHS...
    find "$@" -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum
}

patch_file() { # TOPIC/NUMBER
    echo "$REPO/patches/$1"-*.patch
}
