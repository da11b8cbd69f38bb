# Sourced by slurm_train.sh and slurm_test.sh.

# on_slurm PARTITION JOB SCRIPT [ARGUMENT ...]: run a script with one task per GPU.
on_slurm() {
    local gpus=${GPUS:-8} per_node=${GPUS_PER_NODE:-8}
    if [ "$gpus" -lt "$per_node" ]; then per_node=$gpus; fi
    export PYTHONPATH="$here/..:${PYTHONPATH:-}"
    export MASTER_PORT=${MASTER_PORT:-${PORT:-29500}}
    local gres=(--gres="gpu:$per_node")
    if [ "${NO_GPU:-}" = 1 ]; then gres=(); fi
    # SRUN_ARGS is not quoted, so that it is split into words.
    # shellcheck disable=SC2086
    srun --partition="$1" --job-name="$2" \
        ${gres[@]+"${gres[@]}"} --ntasks="$gpus" \
        --ntasks-per-node="$per_node" \
        --cpus-per-task="${CPUS_PER_TASK:-5}" \
        --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
        "${PYTHON:-python}" -u "${@:3}" --launcher slurm
}
