#!/usr/bin/env bash
# Train on a Slurm cluster.
#   GPUS=8 bash tools/slurm_train.sh PARTITION JOB CONFIG WORK_DIR [OPTION ...]
# Environment variables (defaults): GPUS (8), GPUS_PER_NODE (8), CPUS_PER_TASK (5), SRUN_ARGS,
# PORT (29500), and NO_GPU=1 for nodes without GPUs, where GPUS is the number of processes.
set -euo pipefail
if [ $# -lt 4 ]; then
    echo "usage: slurm_train.sh PARTITION JOB CONFIG WORK_DIR [OPTION ...]" >&2
    exit 2
fi
here="$(cd "$(dirname "$0")" && pwd)"
partition=$1 job=$2 config=$3 work_dir=$4
source "$here/slurm_common.sh"
on_slurm "$partition" "$job" "$here/train.py" "$config" \
    --work-dir "$work_dir" "${@:5}"
