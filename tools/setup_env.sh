#!/usr/bin/env bash
# Builds the environment of `make demo` and `make test`: tools/setup_env.sh [DIR, default .venv]
# Repeatable: a finished environment whose requirements did not change is left as it is.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${1:-.venv}
python=${PYTHON:-python3}

"$python" - <<'PY' || { echo "setup_env: set PYTHON to a Python 3.11 interpreter, e.g. PYTHON=python3.11 make demo" >&2; exit 2; }
import sys
if sys.version_info[:2] != (3, 11):
    sys.exit(f"setup_env: the pinned environment needs Python 3.11, this is {sys.version.split()[0]}")
PY

stamp=$venv/.ffc-dense-env
wanted=$(cat requirements/lock.txt requirements/detectron2.txt setup.py tools/setup_env.sh | sha256sum)
if [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
    echo "environment: $venv is up to date"
    exit 0
fi

step() { echo "environment [$1/4] $2"; }
step 1 "creating $venv"
rm -f "$stamp"
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
pip=("$venv/bin/python" -m pip --disable-pip-version-check)
site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')

step 2 "torch, mmseg, evaluators: about 6 GB, minutes on a fast network"
"${pip[@]}" install --progress-bar off -r requirements/lock.txt \
    | { grep -vE "^(Requirement already|Looking in|  WARNING|WARNING)" || true; }

step 3 "detectron2 (Python files only, by hash)"
rm -rf "$site"/detectron2 "$site"/sal_detectron2-*
"${pip[@]}" install -q --no-deps --only-binary=:all: --python-version 3.10 --target "$site" \
    --upgrade --require-hashes -r requirements/detectron2.txt
rm -rf "$site"/tools "$site"/detectron2/_C*.so   # see requirements/detectron2.txt

step 4 "ffc_dense (editable)"
"${pip[@]}" install -q --no-deps --no-build-isolation -e .
"$venv/bin/python" -c 'import torch, torchvision, detectron2, mmseg, mmcv, mmengine, ffc_dense; print("environment: torch", torch.__version__, "ready")'
echo "$wanted" > "$stamp"
