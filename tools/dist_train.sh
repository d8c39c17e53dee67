#!/usr/bin/env bash
set -euo pipefail

usage="Train with one process per GPU of this machine, or of this machine's share of several.

  tools/dist_train.sh CONFIG GPUS [ARGS]

CONFIG  .yaml: detectron2, by tools/train_net.py; .py: MMSegmentation, by its train.py
GPUS    of this machine
ARGS    passed on. detectron2: flags (--resume), then KEY VALUE. mmseg: --resume, --amp, --cfg-options KEY=VALUE

Environment: WORK_DIR (logs and checkpoints; default: the config's), NNODES, NODE_RANK, MASTER_ADDR, PORT (29500 if there
are several machines), DEVICE (cuda, or cpu: GPUS is the number of CPU processes, joined by gloo), PYTHON"

source "$(dirname -- "${BASH_SOURCE[0]}")/launch_common.sh"

config=${1:-} gpus=${2:-}
need_file CONFIG "$config"
need_number GPUS "$gpus" 1
check_nodes
shift 2

kind=$(framework "$config")
if [[ $kind == detectron2 ]]; then
    run_detectron2 "$gpus" "$config" "$@" ${WORK_DIR:+OUTPUT_DIR "$WORK_DIR"}
else
    run_mmseg "$gpus" train "$config" --launcher pytorch ${WORK_DIR:+--work-dir "$WORK_DIR"} "$@"
fi
