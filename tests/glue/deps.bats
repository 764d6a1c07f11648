#!/usr/bin/env bats
# ci/deps.sh and ci/helpers/apt_private.py, with an apt and a dpkg that only pretend.

load helper

setup() {
    tiny clone
}

fake_apt_has() {
    printf '#!/bin/sh\nprintf "installed %%s\\n" %s\n' "$*" | stub dpkg-query
}

# What dpkg and apt say here: installed packages as arguments.
fake_apt() {
    fake_apt_has "$@"
    printf '#!/bin/sh\necho "$@" >>%q\n' "$BATS_TEST_TMPDIR/apt-calls" | stub apt-get
    printf '#!/bin/sh\nexit 0\n' >ci/helpers/apt_private.py
}

@test "deps.sh --print: what is missing, one a line; nothing is installed" {
    fake_apt git have-one
    run -0 --separate-stderr ci/deps.sh --print
    same "$(grep -v ^meson <<<"$output")" $'lack-one\nlack-server'
    run -0 --separate-stderr ci/deps.sh --print --profile lean
    same "$(grep -v ^meson <<<"$output")" lack-one
    run -0 --separate-stderr ci/deps.sh --print --profile lean --tests
    same "$(grep -v ^meson <<<"$output")" $'lack-one\nlack-test'
    fake_apt git have-one lack-one lack-server
    run -0 --separate-stderr ci/deps.sh --print
    same "$(grep -v ^meson <<<"$output")" ''
    [ ! -e "$BATS_TEST_TMPDIR/apt-calls" ]
}

@test "deps.sh: what is missing is installed, without recommendations" {
    fake_apt git have-one
    printf '#!/bin/sh\necho 0\n' | stub id
    run ci/deps.sh --profile lean
    says "installing 1 package"
    grep -qE '^-q -y .*install --no-install-recommends lack-one$' "$BATS_TEST_TMPDIR/apt-calls"
}

@test "deps.sh: what an interrupted run has left is configured first" {
    fake_apt git have-one
    printf '#!/bin/sh\necho 0\n' | stub id
    stub dpkg <<END
#!/bin/sh
case \$1 in
--audit) echo 'The following packages have been unpacked but not yet configured.' ;;
--configure) echo "\$@" >>'$BATS_TEST_TMPDIR/apt-calls' ;;
*) exec /usr/bin/dpkg "\$@" ;;
esac
END
    run ci/deps.sh --profile lean
    same "$(sed 's/ .* / /' "$BATS_TEST_TMPDIR/apt-calls" | sed -n 1,3p)" '-q update
--configure -a
-q lack-one'
}

@test "deps.sh: what apt complains of is shown" {
    fake_apt git
    printf '#!/bin/sh\necho 0\n' | stub id
    printf '#!/bin/sh\necho "E: no such package"\nexit 100\n' | stub apt-get
    run -1 ci/deps.sh
    says 'E: no such package'
    one_error 'log: build/deps.log'
}

@test "deps.sh: without root and sudo it says what root has to run" {
    fake_apt git
    printf '#!/bin/sh\necho 1000\n' | stub id
    run -1 ci/deps.sh --profile lean --tests </dev/null
    one_line "ci/deps.sh --profile lean --tests'"
    [ ! -e "$BATS_TEST_TMPDIR/apt-calls" ]
}

@test "deps.sh: without apt-get it names every package, and how to go on" {
    mkdir "$BATS_TEST_TMPDIR/bin"
    for name in bash dirname basename sed sort tr paste; do
        ln -s "$(command -v $name)" "$BATS_TEST_TMPDIR/bin/"
    done
    run -1 env PATH="$BATS_TEST_TMPDIR/bin" ci/deps.sh
    one_line 'git have-one lack-one lack-server meson'
    says --no-deps
    run -1 env PATH="$BATS_TEST_TMPDIR/bin" ci/deps.sh --profile lean --tests
    one_line 'git have-one lack-one lack-test meson'
    run -0 --separate-stderr env PATH="$BATS_TEST_TMPDIR/bin" ci/deps.sh --profile lean --print
    same "$output" $'git\nhave-one\nlack-one\nmeson (>= 1.5.0)'
}

# The meson that Python finds, before that of this machine.
fake_meson() { # VERSION
    mkdir -p "$BATS_TEST_TMPDIR/python"
    rm -rf "$BATS_TEST_TMPDIR"/python/meson-*
    mkdir "$BATS_TEST_TMPDIR/python/meson-$1.dist-info"
    printf 'Metadata-Version: 2.1\nName: meson\nVersion: %s\n' "$1" \
        >"$BATS_TEST_TMPDIR/python/meson-$1.dist-info/METADATA"
    export PYTHONPATH=$BATS_TEST_TMPDIR/python
}

# offers NAME VERSION: what NAME (apt-get or apt_private.py) installs as meson.
offers() {
    cat <<END
#!/bin/bash
echo "$1 \$*" >>'$BATS_TEST_TMPDIR/apt-calls'
# What sudo makes below build/ would be root's.
[ -d build/apt ] || exit 1
case " \$* " in *' install '*' meson '*)
    mv '$BATS_TEST_TMPDIR'/python/meson-*.dist-info '$BATS_TEST_TMPDIR/python/meson-$2.dist-info'
    sed -i 's/^Version: .*/Version: $2/' '$BATS_TEST_TMPDIR/python/meson-$2.dist-info/METADATA'
esac
END
}

# Everything is installed, but for a meson that is new enough.
old_meson() { # WHAT-THE-RELEASE-HAS
    fake_apt git have-one lack-one lack-server
    fake_meson 1.0.1
    printf '#!/bin/sh\necho 0\n' | stub id
    printf '#!/bin/sh\nprintf "meson:\n  Installed: 1.0.1-5\n  Candidate: %s\n"\n' "$1" |
        stub apt-cache
    offers apt-get "${1%-*}" | stub apt-get
    offers apt_private.py 1.7.0 >ci/helpers/apt_private.py
}

@test "deps.sh: the release's own meson is installed where it is new enough" {
    old_meson 1.7.0-1
    run -0 ci/deps.sh --print
    same "$output" 'meson (>= 1.5.0)'
    run -0 ci/deps.sh
    never_says backports
    grep -qE '^apt-get .*install --no-install-recommends meson$' "$BATS_TEST_TMPDIR/apt-calls"
    run ! grep apt_private "$BATS_TEST_TMPDIR/apt-calls"
    # The candidate is asked for when the lists are new.
    same "$(sed -n '1s/.* //p' "$BATS_TEST_TMPDIR/apt-calls")" update
    run -0 ci/deps.sh
    same "$output" ''
}

@test "deps.sh: meson and what else is missing are installed at once" {
    old_meson 1.7.0-1
    fake_apt_has git have-one lack-server
    run -0 ci/deps.sh
    says 'installing 2 packages'
    grep -qE '^apt-get .*install --no-install-recommends lack-one meson$' "$BATS_TEST_TMPDIR/apt-calls"
}

@test "deps.sh: meson comes from the backports where the release's own is too old" {
    local release
    release=$(. /etc/os-release && echo "$VERSION_CODENAME")
    for candidate in 1.0.1-5 '(none)'; do
        old_meson "$candidate"
        : >"$BATS_TEST_TMPDIR/apt-calls"
        run -0 ci/deps.sh
        says "meson from $release-backports"
        grep -q "^apt_private.py deb $release-backports apt-get .*install .* meson$" "$BATS_TEST_TMPDIR/apt-calls"
        run ! grep -q '^apt-get .*meson' "$BATS_TEST_TMPDIR/apt-calls"
    done
}

@test "deps.sh: a meson that is still too old is told" {
    old_meson 1.0.1-5
    offers apt_private.py 1.4.9 >ci/helpers/apt_private.py
    run -1 ci/deps.sh
    one_error 'meson is still older than 1.5.0'
}

@test "deps.sh: without root and sudo meson counts as missing, too" {
    old_meson 1.7.0-1
    printf '#!/bin/sh\necho 1000\n' | stub id
    run -1 ci/deps.sh </dev/null
    one_line '1 package missing'
}

# The address and key that apt_private.py takes from a folder like /etc/apt.
host_entry() {
    run /usr/bin/python3 -c "
import sys
sys.path.insert(0, 'ci/helpers')
import apt_private
apt_private.code_name = lambda: 'bookworm'
print(*apt_private.host_entry('$BATS_TEST_TMPDIR/apt'))
"
}

@test "apt_private.py: the address comes from the stanza of the release itself" {
    mkdir -p "$BATS_TEST_TMPDIR/apt/sources.list.d"
    cat >"$BATS_TEST_TMPDIR/apt/sources.list.d/debian.sources" <<'END'
# first
Types: deb
URIs: http://security.example/debian-security
Suites: bookworm-security
Components: main

Types: deb
URIs: http://disabled.example/debian
Suites: bookworm
Enabled: no

Types: deb deb-src
URIs: http://archive.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/archive.gpg
END
    host_entry
    same "$output" 'http://archive.example/debian /usr/share/keyrings/archive.gpg'
    rm "$BATS_TEST_TMPDIR/apt/sources.list.d/debian.sources"
    cat >"$BATS_TEST_TMPDIR/apt/sources.list" <<'END'
# deb http://commented.example/debian bookworm main
deb http://security.example/debian-security bookworm-security main
deb [signed-by=/k.gpg arch=amd64] http://archive.example/debian bookworm main
END
    host_entry
    same "$output" 'http://archive.example/debian /k.gpg'
    : >"$BATS_TEST_TMPDIR/apt/sources.list"
    host_entry
    says "no source for 'bookworm'"
}

@test "apt_private.py: two that want the same suite take turns" {
    local calls=$BATS_TEST_TMPDIR/calls
    stub apt-get <<END
#!/bin/sh
echo begin >>$calls
sleep 1
echo end >>$calls
END
    for name in one two; do
        ci/helpers/apt_private.py deb trixie apt-get download $name 3>&- &
    done
    wait
    # Each updates its lists, and fetches.
    same "$(paste -sd' ' "$calls")" 'begin end begin end begin end begin end'
}

@test "apt_private.py: 77 is for the network and the archive, and for nothing else" {
    # apt CALL STATUS LINE: what update or download ends with
    apt() {
        printf '#!/bin/sh\ncase $* in *" %s"*) echo "%s" >&2; exit %s ;; esac\n' "$1" "$3" "$2" | stub apt-get
    }
    apt update 100 'E: Failed to fetch http://a.example/InRelease  no such host'
    run -77 ci/helpers/apt_private.py deb trixie apt-get download x
    says 'suite trixie is not reached'
    apt download 100 'E: Failed to fetch http://a.example/x.deb  404  Not Found'
    run -77 ci/helpers/apt_private.py deb trixie apt-get download x
    says '404'
    apt update 100 'E: Could not open lock file /lists/lock - open (13: Permission denied)'
    run -1 ci/helpers/apt_private.py deb trixie apt-get download x
    one_line "apt's lists of trixie cannot be read: E: Could not open lock file"
    apt download 100 'E: Unable to locate package x'
    run -100 ci/helpers/apt_private.py deb trixie apt-get download x
    says 'Unable to locate'
}

@test "apt_private.py: a full disk and a key that is missing are not the network's fault" {
    local what
    for what in 'E: Failed to fetch http://a.example/x  Error writing to file - write (28: No space left on device)' \
        'W: Failed to fetch http://a.example/x  Could not open file /x - open (30: Read-only file system)' \
        'Err:1 http://a.example trixie InRelease: signatures could not be verified: NO_PUBKEY 6ED0E7B82643E131' \
        "E: Failed to fetch http://a.example/InRelease  The following signatures couldn't be verified because the public key is not available"; do
        stub apt-get <<END
#!/bin/sh
echo "$what"
exit 100
END
        run -1 ci/helpers/apt_private.py deb trixie apt-get download x
        one_line "apt's lists of trixie cannot be read: $what"
        # and when the lists could be read
        stub apt-get <<END
#!/bin/sh
case \$* in *" update") exit 0 ;; esac
echo "$what" >&2
exit 100
END
        run -100 ci/helpers/apt_private.py deb trixie apt-get download x
        says "$what"
    done
}

@test "apt_private.py: one that waits for its turn says so" {
    sed -i 's/^SILENCE = 5$/SILENCE = 0.1/' ci/lib/tool.py
    mkdir -p build/apt/deb-trixie
    exec 7>build/apt/deb-trixie/lock
    flock 7
    ci/helpers/apt_private.py deb trixie sources >/dev/null 2>"$BATS_TEST_TMPDIR/err" 3>&- 7>&- &
    eventually grep -q 'waiting for another run of apt with trixie' "$BATS_TEST_TMPDIR/err"
    exec 7>&-
    wait
    # Who need not wait says nothing.
    run -0 ci/helpers/apt_private.py deb trixie sources
    never_says waiting
}
