#!/usr/bin/env bash
# Create a virtual environment with the pinned requirements and this package.
#   bash tools/setup_env.sh [DIRECTORY]     (default: .venv)
# PYTHON sets the interpreter; by default, the script looks for the newest of Python 3.10 to 3.14.
# The script uses pip and venv, which come with Python. uv was considered, but it would have to be
# installed first, and requirements.txt already pins every package.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${1:-.venv}
log="$venv.setup.log"
lock="$venv.setup.lock"
started=$SECONDS

say() { echo "[setup] $*"; }
stop() { echo "error: $*" >&2; exit 2; }

# works COMMAND: succeed if the command is a supported Python version.
works() {
    "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 15))' \
        >/dev/null 2>&1
}

find_python() {
    local name candidate
    if [ -n "${PYTHON:-}" ]; then
        works "$PYTHON" || stop "PYTHON=$PYTHON is not a Python of version" \
            "3.10 to 3.14: set it to one"
        echo "$PYTHON"
        return
    fi
    for name in python3.14 python3.13 python3.12 python3.11 python3.10 python3 python; do
        # all directories of PATH: pyenv's come first and contain commands that fail
        while IFS= read -r candidate; do
            if works "$candidate"; then
                echo "$candidate"
                return
            fi
        done < <(type -ap "$name")
    done
    stop "no Python 3.10 to 3.14 found: install one (for example:" \
        "apt-get install python3 python3-venv) or set PYTHON=/path/to/python"
}

# ready: succeed if the environment is newer than the files that define it.
ready() {
    local file
    for file in requirements.txt pyproject.toml setup.py pose_backbones/version.py; do
        [ "$venv/.ready" -nt "$file" ] || return 1
    done
}

# take_turn: wait until no other set-up of this environment is running. The lock of `flock` ends
# with its process. Without that command, the lock is a file with the process ID.
take_turn() {
    if command -v flock >/dev/null; then
        exec 9>>"$log"
        flock --nonblock 9 && return
        waiting
        flock 9
    else
        local owner missing=0
        while ! (set -o noclobber && echo $$ >"$lock") 2>/dev/null; do
            if [ ! -e "$lock" ]; then # just removed, or not writable
                missing=$((missing + 1))
                [ "$missing" -lt 5 ] || stop "cannot write $lock"
                continue
            fi
            missing=0
            owner=$(cat "$lock" 2>/dev/null || true)
            if [ -n "$owner" ] && ! kill -0 "$owner" 2>/dev/null; then
                # The owner was killed. The process that writes last gets the lock.
                echo $$ >"$lock"
                sleep 1
                [ "$(cat "$lock")" = $$ ] && break
            fi
            waiting
            sleep 1
        done
        trap 'rm -f "$lock" 2>/dev/null || true' EXIT
    fi
    if [ -n "$waited" ] && ready; then
        say "the other set-up has finished $venv"
        exit
    fi
}

waiting() {
    [ -n "$waited" ] || say "another set-up of $venv is running: waiting"
    waited=yes
}

python=$(find_python)
waited=
take_turn
version=$("$python" -c 'import platform; print(platform.python_version())')
: >"$log"

say "Python $version; environment in $venv, log in $log"
if ! "$venv/bin/python" -c 'import pip' >/dev/null 2>&1; then
    "$python" -m venv --clear "$venv" >>"$log" 2>&1 ||
        stop "$python cannot create a virtual environment (on Debian and" \
            "Ubuntu: apt-get install python3-venv); see $log"
fi

# pip_install WHAT ARGUMENT...
pip_install() {
    local what=$1 status=0
    shift
    say "$what"
    "$venv/bin/python" -m pip install --disable-pip-version-check \
        --no-input --progress-bar off "$@" >>"$log" 2>&1 &
    local pip=$! shown=0 lines
    while kill -0 "$pip" 2>/dev/null; do
        sleep 1
        lines=$(grep -cE '^ *(Collecting|Building) ' "$log" || true)
        if [ "$lines" -ge $((shown + 10)) ]; then
            shown=$lines
            say "  $lines packages found, $((SECONDS - started)) s"
        elif [ "$shown" -gt 0 ] && grep -q '^Installing' "$log" &&
            [ $(((SECONDS - started) % 15)) -eq 0 ]; then
            say "  unpacking, $((SECONDS - started)) s"
        fi
    done
    wait "$pip" || status=$?
    [ "$status" -eq 0 ] || explain
}

# explain: stop with a one-line error message derived from the log of pip.
explain() {
    if grep -qE 'NewConnectionError|NameResolutionError|ConnectTimeout|Temporary failure|Name or service|Network is unreachable|ProxyError|ReadTimeout|Connection refused|from versions: none' "$log"; then
        stop "the packages could not be downloaded: check the network and the" \
            "package index of pip. Details: $log"
    fi
    if grep -qiE "(gcc|cc|cl\.exe)'? failed|no such file.*gcc" "$log"; then
        stop "a package has no wheel for this Python and machine, and there is no C" \
            "compiler to build it. Details: $log"
    fi
    stop "pip failed: $(grep -E '^ *(ERROR|error):' "$log" | tail -1). Details: $log"
}

pip_install "installing the pinned requirements (3 GB to download the first time)" \
    --no-deps --no-build-isolation --retries 2 -r requirements.txt
pip_install "installing pose_backbones" \
    --no-deps --no-build-isolation --editable .
say "checking the installation"
"$venv/bin/python" - >>"$log" 2>&1 <<'CHECK' ||
import pose_backbones
from mmpose.registry import MODELS
assert MODELS.get('MogaNet') is MODELS.get('pose_backbones.MogaNet')
CHECK
    stop "the environment does not work; details: $log"
touch "$venv/.ready"
say "ready after $((SECONDS - started)) s"
