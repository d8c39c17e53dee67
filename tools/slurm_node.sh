#!/usr/bin/env bash
set -euo pipefail

usage="One machine's share of a Slurm job: run by srun as one task per node, it tells COMMAND where the others are.

  srun --ntasks-per-node=1 ... tools/slurm_node.sh COMMAND [ARGS]

COMMAND sees NNODES, NODE_RANK, MASTER_ADDR (the job's first host) and PORT (of the job, so that two jobs on one host do
not meet). PORT and MASTER_ADDR of the environment stay."

if (($# == 0)); then
    printf '%s: COMMAND is missing\n\n%s\n' "${0##*/}" "$usage" >&2
    exit 2
fi
for name in SLURM_JOB_ID SLURM_NNODES SLURM_NODEID SLURM_JOB_NODELIST; do
    if [[ -z ${!name:-} ]]; then
        printf '%s: %s is not set: this script is to be run by srun\n\n%s\n' "${0##*/}" "$name" "$usage" >&2
        exit 2
    fi
done

export NNODES=$SLURM_NNODES NODE_RANK=$SLURM_NODEID
if [[ -z ${MASTER_ADDR:-} ]]; then
    hosts=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
    MASTER_ADDR=${hosts%%$'\n'*}
fi
export MASTER_ADDR PORT=${PORT:-$((20000 + SLURM_JOB_ID % 10000))}
exec "$@"
