#!/usr/bin/env bats
# ci/suite.sh: the wrapper in another release, with a debootstrap, an unshare
# and a chroot that only pretend.

load helper

setup() {
    tiny clone
    [ "$(id -u)" = 0 ] || skip "ci/suite.sh takes root"
    command -v debootstrap >/dev/null || skip "no debootstrap"
    CALLS=$BATS_TEST_TMPDIR/calls
    SYSTEM=build/suite-trixie/root
    : >"$CALLS"
    cat >ci/helpers/apt_private.py <<'END'
#!/bin/sh
[ "$*" = 'deb trixie sources' ] || exit 1
printf 'Types: deb\nURIs: http://archive.example/debian\nSuites: trixie\nSigned-By: /k.gpg\n'
END
    stub debootstrap <<END
#!/bin/bash
echo debootstrap "\$@" >>'$CALLS'
for root; do case \$root in */root) break ;; esac; done
mkdir -p "\$root"/{etc/sudoers.d,usr/sbin,usr/bin,srv}
echo 'PRETTY_NAME="Tiny 13"' >"\$root/etc/os-release"
END
    printf '#!/bin/sh\nexit 0\n' | stub chroot
    # As whom, and what.
    fake_unshare 'exit 0'
}

fake_unshare() { # WHAT THE WRAPPER DOES, in the system's root
    stub unshare <<END
#!/bin/bash
case "\$*" in *'chroot / true') exit ;; esac
all="\$*"
[[ \$all =~ --userspec=([0-9]+) ]]
echo "\${BASH_REMATCH[1]}: \${all##* sh }" >>'$CALLS'
cd '$REPO/$SYSTEM/srv/qemu-thrift' || exit
case "\$*" in *configure-wrapper.sh*) $1 ;; esac
END
}

@test "suite.sh: a system is made from the host's sources, and used again" {
    run -0 ci/suite.sh trixie
    says 'passed: Tiny 13, lean, as root'
    says 'passed: Tiny 13, lean, as user'
    grep -q -- '--keyring=/k.gpg trixie .*/build/suite-trixie/root http://archive.example/debian$' "$CALLS"
    same "$(grep -v debootstrap "$CALLS")" \
        "0: ./configure-wrapper.sh --profile lean
61184: ./configure-wrapper.sh --profile lean"
    same "$(git -c safe.directory='*' -C "$SYSTEM/srv/qemu-thrift" rev-parse HEAD)" "$(git rev-parse HEAD)"
    same "$(stat -c %a build/suite-trixie)" 700
    run -0 ci/suite.sh trixie
    same "$(grep -c debootstrap "$CALLS")" 1
    run -0 ci/suite.sh trixie --fresh
    same "$(grep -c debootstrap "$CALLS")" 2
    echo 'base another' >>ci/packages
    run -0 ci/suite.sh trixie
    says 'what is not committed'
    same "$(grep -c debootstrap "$CALLS")" 3
}

@test "suite.sh: meson is missing each time, so that it is installed" {
    ci/suite.sh trixie --as root
    touch "$SYSTEM/usr/bin/meson"
    chmod +x "$SYSTEM/usr/bin/meson"
    : >"$CALLS"
    run -0 ci/suite.sh trixie --profile server
    same "$(cat "$CALLS")" "0: apt-get -q -y purge meson flex
0: ./configure-wrapper.sh --profile server
0: apt-get -q -y purge meson flex
61184: ./configure-wrapper.sh --profile server"
}

@test "suite.sh: --as, --no-build and a command of one's own" {
    run -0 ci/suite.sh trixie --as user -- ci/package.sh --help
    same "$(grep -v debootstrap "$CALLS")" "61184: ./configure-wrapper.sh --profile lean
0: ci/package.sh --help"
    # git refuses to work in what is another's.
    same "$(stat -c %u "$SYSTEM/srv/qemu-thrift/.git")" 0
    : >"$CALLS"
    run -0 ci/suite.sh trixie --no-build -- ci/package.sh
    same "$(cat "$CALLS")" '0: ci/package.sh'
}

@test "suite.sh: what does not work there is a failure" {
    fake_unshare 'echo "deps.sh: error: no meson"; exit 1'
    run -1 ci/suite.sh trixie
    says 'error: no meson'
    says 'it does not work in Tiny 13 as root (log: build/suite-trixie.log)'
    never_says passed
    grep -q 'no meson' build/suite-trixie.log
    # What goes to the log alone is told if it fails.
    fake_unshare 'exit 0'
    touch "$SYSTEM/usr/bin/meson"
    chmod +x "$SYSTEM/usr/bin/meson"
    sed -i '2i case "$*" in *purge*) echo "Reading"; echo "E: dpkg was interrupted"; exit 100 ;; esac' \
        "$BATS_TEST_TMPDIR/stubs/unshare"
    run -1 ci/suite.sh trixie --as root
    says '    E: dpkg was interrupted'
    never_says Reading
    grep -q Reading build/suite-trixie.log
    rm "$SYSTEM/usr/bin/meson"
    # What sudo has left to root in the user's clone.
    fake_unshare 'mkdir -p build && touch build/mine'
    run -1 ci/suite.sh trixie --as user
    says 'the user does not own /srv/qemu-thrift/build'
}

@test "suite.sh: where it can't run it says why, and ends with 77" {
    printf '#!/bin/sh\necho "E: Failed getting release file"\nexit 1\n' | stub debootstrap
    run -77 ci/suite.sh trixie
    says 'skipped: debootstrap: E: Failed getting release file'
    # Half a system is not used.
    run -77 ci/suite.sh trixie
    # A key that is missing is no reason to skip
    printf '#!/bin/sh\necho "E: Release signed by unknown key"\nexit 1\n' | stub debootstrap
    run -1 ci/suite.sh trixie
    says 'error: debootstrap: E: Release signed by unknown key'
    printf '#!/bin/sh\necho "E: Failed getting release file"\nexit 1\n' | stub debootstrap
    run -77 ci/suite.sh trixie
    printf '#!/bin/sh\nexit 1\n' | stub unshare
    run -77 ci/suite.sh trixie
    says 'skipped: this host allows no chroot'
    printf '#!/bin/sh\necho 1000\n' | stub id
    run -77 ci/suite.sh trixie
    says 'takes root'
}

@test "check: debian13 counts each pass, a failure and a skip" {
    mkdir -p tests/glue
    stage() { # OUTPUT STATUS
        printf '#!/bin/sh\nprintf "%s"\nexit %s\n' "$1" "$2" >ci/suite.sh
        run ci/check --only debian13
    }
    stage 'suite.sh: passed: a\nsuite.sh: passed: b\n' 0
    says '2 passed, 0 failed, 0 skipped'
    stage 'suite.sh: passed: a\nsuite.sh: error: it does not work as user\n' 1
    says '1 passed, 1 failed, 0 skipped'
    says 'it does not work as user'
    # No one has its log behind a run of CI.
    stage 'build.sh: [3/9] 5 s left\n    FAILED: a.o\n    a.c:1: error: no\nsuite.sh: error: it does not work (log: build/x)\n' 1
    says 'failed: debian13: suite.sh: error: it does not work (log: build/x)
    FAILED: a.o
    a.c:1: error: no
'
    stage 'suite.sh: skipped: it takes root\n' 77
    says '0 passed, 0 failed, 1 skipped'
    says 'it takes root'
    stage '' 0
    says '0 passed, 1 failed'
}
