#!/usr/bin/env bash
# Evaluate on a Slurm cluster.
#   GPUS=8 bash tools/slurm_test.sh PARTITION JOB CONFIG CHECKPOINT [OPTION ...]
# Environment variables (defaults): GPUS (8), GPUS_PER_NODE (8), CPUS_PER_TASK (5), SRUN_ARGS,
# PORT (29500), and NO_GPU=1 for nodes without GPUs, where GPUS is the number of processes.
set -euo pipefail
if [ $# -lt 4 ]; then
    echo "usage: slurm_test.sh PARTITION JOB CONFIG CHECKPOINT [OPTION ...]" >&2
    exit 2
fi
here="$(cd "$(dirname "$0")" && pwd)"
partition=$1 job=$2
source "$here/slurm_common.sh"
on_slurm "$partition" "$job" "$here/test.py" "${@:3}"
