#!/usr/bin/env bash
set -euo pipefail

usage="One machine's share of a Slurm job. srun runs it as one task per node; it gives COMMAND the addresses of the others.

  srun --ntasks-per-node=1 ... tools/slurm_node.sh COMMAND [ARGS]

COMMAND gets NNODES, NODE_RANK, MASTER_ADDR (the job's first host) and PORT (made of the job's number, so that two jobs on
one host do not share it). PORT and MASTER_ADDR of the environment are kept."

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
