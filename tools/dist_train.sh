#!/usr/bin/env bash
# Train on several GPUs, or in several processes on a machine without GPUs.
#   bash tools/dist_train.sh CONFIG GPUS [OPTION ...]
# For several machines, set NNODES, NODE_RANK and MASTER_ADDR on each.
# Runs on the same machine need different values of PORT (default 29500).
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
export PYTHONPATH="$here/..:${PYTHONPATH:-}"
exec "${PYTHON:-python}" "$here/_launch.py" \
    "$here/train.py" 1 "$@"
