#!/usr/bin/env bash
set -euo pipefail

usage="Train in a Slurm job and wait for it (use train.sbatch to survive preemption).

  [GPUS=8 GPUS_PER_NODE=8 CPUS_PER_TASK=5 SRUN_ARGS=...] tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR [ARGS]

GPUS           all GPUs of the job (4)
GPUS_PER_NODE  GPUs to take of each machine (4)
CPUS_PER_TASK  CPUs for each GPU (5), as in mmseg's script, where a task is a GPU
SRUN_ARGS      more options of srun, quoted as in a shell
ARGS           passed on to tools/dist_train.sh"

wrong() {
    printf '%s: %s\n\n%s\n' "${0##*/}" "$1" "$usage" >&2
    exit 2
}

names=(PARTITION JOB_NAME CONFIG WORK_DIR)
for i in "${!names[@]}"; do
    (($# > i)) || wrong "${names[i]} is missing"
done
partition=$1 job=$2 config=$3 WORK_DIR=$4
shift 4
[[ -f $config ]] || wrong "CONFIG: there is no file $config"
export WORK_DIR

gpus=${GPUS:-4} per_node=${GPUS_PER_NODE:-4} cpus=${CPUS_PER_TASK:-5}
for name in gpus per_node cpus; do
    [[ ${!name} =~ ^[1-9][0-9]*$ ]] || wrong "GPUS, GPUS_PER_NODE, CPUS_PER_TASK: expected numbers, got '${!name}'"
done
((gpus >= per_node)) || per_node=$gpus
((gpus % per_node == 0)) || wrong "GPUS: $gpus cannot be shared out evenly, $per_node to a node (GPUS_PER_NODE)"

srun_args=()
if [[ -n ${SRUN_ARGS:-} ]]; then
    split=$(xargs printf '%s\n' <<<"$SRUN_ARGS") || wrong "SRUN_ARGS: cannot be split into options: $SRUN_ARGS"
    mapfile -t srun_args <<<"$split"
fi

tools=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# The scripts below read these from Slurm, one value per node.
unset NNODES NODE_RANK MASTER_ADDR
set -x
exec srun --partition="$partition" --job-name="$job" --nodes=$((gpus / per_node)) --ntasks-per-node=1 \
    --gres=gpu:"$per_node" --cpus-per-task=$((cpus * per_node)) --kill-on-bad-exit=1 \
    ${srun_args[@]+"${srun_args[@]}"} "$tools/slurm_node.sh" "$tools/dist_train.sh" "$config" "$per_node" "$@"
