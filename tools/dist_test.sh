#!/usr/bin/env bash
# Evaluate on several GPUs (on a machine without any: in several processes).
#   bash tools/dist_test.sh CONFIG CHECKPOINT GPUS [OPTION ...]
# Several machines: on each, with NNODES, NODE_RANK and MASTER_ADDR set.
# PORT (29500) tells runs on one machine apart.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
export PYTHONPATH="$here/..:${PYTHONPATH:-}"
exec "${PYTHON:-python}" "$here/_launch.py" \
    "$here/test.py" 2 "$@"
