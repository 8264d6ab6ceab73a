#!/bin/sh
# Makes .venv from the lock and fetches the Delta JARs: `make setup`. Needs Python 3.11, Java 17.
#
# Idempotent (a stamp holds the hash of what .venv was made from, and where) and safe to interrupt
# (a .venv with the mark `causeway-setup.unfinished` is made anew). Exit code 6: the machine
# lacks something, and the message says what to do.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
cd -- "$root"

venv=.venv
stamp=$venv/causeway-setup.stamp
mark=$venv/causeway-setup.unfinished
log=$venv/causeway-setup.log
disk_needed_mb=5000

fail() {    # fail WHAT REMEDY
    printf 'causeway set-up: %s\n  -> %s\n' "$1" "$2" >&2
    exit 6
}

say() {
    printf 'set-up %s\n' "$1" >&2
}

fingerprint() {    # what .venv is made from; a moved clone has another path and needs another .venv
    printf '%s\n' "$root"
    sha256sum requirements.lock infra/bootstrap.lock pyproject.toml \
        infra/jars/fetch.py infra/jars/archive.py infra/jars/jars.sha256
}

find_python() {
    for candidate in python3.11 python3; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            printf '%s' "$candidate"
            return
        fi
    done
}

check_python() {
    python=$(find_python)
    [ -n "$python" ] || fail "no Python 3.11 or newer (looked for python3.11, then python3)" \
        "install it, on Debian: apt-get install python3.11 python3.11-venv"
    "$python" -c 'import venv, ensurepip' 2>/dev/null ||
        fail "$python has no venv module" "on Debian: apt-get install python3.11-venv"
}

check_java() {
    java=java
    [ -z "${JAVA_HOME:-}" ] || java=$JAVA_HOME/bin/java
    remedy="on Debian: apt-get install openjdk-17-jre-headless; or set JAVA_HOME to a Java 17"
    # `java -version` prints: openjdk version "17.0.15" 2025-04-15
    found=$("$java" -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1) || true
    [ -n "$found" ] || fail "no Java 17 or newer: $java does not run" "$remedy"
    [ "$found" -ge 17 ] || fail "Java 17 or newer is needed, $java is version $found" "$remedy"
}

check_disk() {
    free_mb=$(df -Pm . | awk 'NR == 2 {print $4}')
    [ "$free_mb" -ge "$disk_needed_mb" ] ||
        fail "$free_mb MB free in $root, about $disk_needed_mb MB are needed" "free some disk"
    [ -w . ] || fail "$root is not writable" "give yourself the right to write there"
}

step() {    # step TITLE COMMAND...: run quietly into the log, and say in a line why it failed
    title=$1
    shift
    say "$title"
    printf '\n== %s\n' "$title" >>"$log"
    "$@" >>"$log" 2>&1 || explain "$title"
}

explain() {    # the reason of a failed step, read off the log
    if grep -qi 'no space left' "$log"; then
        fail "$1: the disk is full" "free about $disk_needed_mb MB, then run again"
    elif grep -qiE 'hash(es)? (mismatch|do not match)|DO NOT MATCH THE HASHES' "$log"; then
        fail "$1: a package is not the one that the lock names" \
            "do not go on: a mirror serves other files; see $root/$log"
    elif grep -qiE 'connect|resolve|timed? ?out|unreachable|name resolution|dns|certificate|HTTP' \
        "$log"; then
        fail "$1: the package registry is out of reach" \
            "check the network, proxy and certificates (details: $root/$log), then run again"
    fi
    tail -n 5 "$log" >&2
    fail "$1: failed" "the whole log is $root/$log; mend the cause, then run again"
}

settle_environment() {    # nothing of the caller's Python or uv may leak into .venv
    unset PYTHONPATH PYTHONHOME VIRTUAL_ENV CONDA_PREFIX PIP_TARGET PIP_PREFIX PIP_USER \
        PIP_REQUIRE_VIRTUALENV PIP_NO_INDEX UV_PYTHON UV_SYSTEM_PYTHON UV_PROJECT_ENVIRONMENT \
        UV_REQUIRE_HASHES UV_CONSTRAINT UV_OVERRIDE UV_TARGET UV_PREFIX || true
    export UV_NO_CONFIG=1 UV_NO_PROGRESS=1 PIP_DISABLE_PIP_VERSION_CHECK=1
    # The machine's own certificates, where it has any: a company's proxy signs with its own.
    [ ! -s /etc/ssl/certs/ca-certificates.crt ] || export UV_SYSTEM_CERTS=1
    # uv does not read pip's configuration; a mirror named there is meant for it too.
    mirror=${PIP_INDEX_URL:-$($venv/bin/python -m pip config get global.index-url 2>/dev/null)} ||
        true
    [ -z "$mirror" ] || export UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-$mirror}"
}

make_venv() {
    if [ -e "$mark" ]; then
        say "0/5: the last set-up did not finish; starting anew"
        rm -rf "$venv"
    elif [ -e "$stamp" ] && [ "$(head -n 1 "$stamp")" != "$root" ]; then
        say "0/5: the clone was moved; starting anew"
        rm -rf "$venv"
    fi
    mkdir -p "$venv"
    : >"$mark"
    rm -f "$stamp"
    : >"$log"
    if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
        step "1/5: $venv, $("$python" --version)" "$python" -m venv "$venv"
    fi
}

install() {
    py=$venv/bin/python
    step "2/5: uv and the build tools" "$py" -m pip install --quiet --no-input --retries 2 \
        --timeout 30 --require-hashes --no-deps --only-binary :all: -r infra/bootstrap.lock
    # Two of the locked packages are source distributions: the locked build tools build them.
    step "3/5: the locked packages, 3 GB" \
        "$venv/bin/uv" pip sync --python "$py" --require-hashes --no-build-isolation \
        requirements.lock
    step "4/5: causeway itself" "$venv/bin/uv" pip install --python "$py" --no-deps \
        --no-build-isolation --editable .
    say "5/5: the Delta JARs"
    "$py" infra/jars/fetch.py >&2 ||
        fail "5/5: the Delta JARs could not be fetched" "see the lines above, then run again"
}

main() {
    if [ -x "$venv/bin/python" ] && [ -e "$stamp" ] && [ ! -e "$mark" ]; then
        [ "$(fingerprint)" != "$(cat "$stamp")" ] || return 0
    fi
    check_python
    check_java
    check_disk
    # One set-up at a time in a clone; a second one waits and then finds the work done.
    exec 9<"$root/infra/setup.sh"
    flock 9
    if [ -e "$stamp" ] && [ ! -e "$mark" ] && [ "$(fingerprint)" = "$(cat "$stamp")" ]; then
        return 0
    fi
    make_venv
    settle_environment
    install
    fingerprint >"$stamp.new"
    mv "$stamp.new" "$stamp"
    rm -f "$mark"
    say "done: $venv"
}

main "$@"
