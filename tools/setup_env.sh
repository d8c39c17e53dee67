#!/usr/bin/env bash
# Builds the environment of `make demo` and `make test`: tools/setup_env.sh [DIR, default .venv]
# Repeatable: an interrupted build continues; a finished environment with unchanged requirements is left as it is.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${1:-.venv}
python=${PYTHON:-python3}

check() {  # $1: an interpreter
    "$1" - <<'PY'
import ctypes, sys
if sys.version_info[:2] != (3, 11):
    sys.exit(f"setup_env: Python 3.11 is needed, {sys.executable} is {sys.version.split()[0]}. "
             "Name another one, e.g. PYTHON=python3.11 make demo; an old environment folder has to be removed first")
for name in ("libGL.so.1", "libglib-2.0.so.0"):  # opencv-python loads them
    try:
        ctypes.CDLL(name)
    except OSError:
        sys.exit(f"setup_env: {name} is missing; on Debian and Ubuntu: apt-get install libgl1 libglib2.0-0")
PY
}

stamp=$venv/.ffc-dense-env
wanted=$( (pwd -P; cat requirements/*.txt setup.py pyproject.toml tools/setup_env.sh) | sha256sum)
if [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
    echo "environment: $venv is up to date"
    exit 0
fi

step() { echo "environment [$1/4] $2"; }
step 1 "creating $venv"
check "$python"
rm -f "$stamp"
if ! "$venv/bin/python" -m pip --version > /dev/null 2>&1; then
    "$python" -m venv "$venv" || { echo "setup_env: on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 2; }
fi
check "$venv/bin/python"
pip=("$venv/bin/python" -m pip --disable-pip-version-check)
site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')

step 2 "torch, evaluators: about 6 GB, minutes on a fast network"
"${pip[@]}" install --progress-bar off -r requirements/lock.txt 2>&1 \
    | { grep -vE "^(Requirement already|Looking in| *WARNING)" || true; }

step 3 "mmseg, mmpretrain and detectron2, by hash"
"${pip[@]}" install -q --no-deps --require-hashes -r requirements/mmseg.txt -r requirements/mmpretrain.txt
rm -rf "$site/tests"  # of model-index: spawned workers of our tests would import it instead of ours
# The wheel is tagged for another Python. Its compiled _C is for that one, and its stray top-level `tools` would shadow
# others: both are left out.
unpacked=$(mktemp -d)
trap 'rm -rf "$unpacked"' EXIT
"${pip[@]}" install -q --no-deps --only-binary=:all: --python-version 3.10 --target "$unpacked" --require-hashes \
    -r requirements/detectron2.txt
rm -rf "$unpacked"/detectron2/_C*.so "$site"/detectron2 "$site"/sal_detectron2-*
cp -r "$unpacked"/detectron2 "$unpacked"/sal_detectron2-* "$site"

step 4 "ffc_dense (editable)"
"${pip[@]}" install -q --no-deps --no-build-isolation -e .
"$venv/bin/python" -W ignore -c 'import torch, torchvision, detectron2, mmseg, mmpretrain, ffc_dense; print("environment: torch", torch.__version__, "ready")'
echo "$wanted" > "$stamp"
