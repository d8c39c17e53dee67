#!/usr/bin/env bash
set -euo pipefail

usage="Train with one process per GPU of this machine, or of this machine's share of several.

  tools/dist_train.sh CONFIG GPUS [ARGS]

CONFIG  .yaml: detectron2, by tools/train_net.py; .py: MMSegmentation, by its train.py, or a LazyConfig (it imports
        detectron2, ffc_dense.detection or a neighbour), by tools/lazyconfig_train_net.py
GPUS    of this machine
ARGS    passed on. detectron2: flags (--resume), then KEY VALUE (.yaml) or KEY=VALUE (LazyConfig).
        mmseg, mmpretrain: --resume, --amp, --cfg-options KEY=VALUE

Environment: WORK_DIR (logs and checkpoints; default: the config's), NNODES, NODE_RANK, MASTER_ADDR, PORT (29500 if there
are several machines), DEVICE (cuda, or cpu: GPUS is the number of CPU processes, joined by gloo), PYTHON"

source "$(dirname -- "${BASH_SOURCE[0]}")/launch_common.sh"

config=${1:-} gpus=${2:-}
need_file CONFIG "$config"
need_number GPUS "$gpus" 1
check_nodes
shift 2

kind=$(framework "$config")
case $kind in
detectron2)
    [[ $device == cuda ]] || set -- "$@" MODEL.DEVICE cpu
    run_detectron2 train_net.py "$gpus" "$config" "$@" ${WORK_DIR:+OUTPUT_DIR "$WORK_DIR"}
    ;;
lazyconfig)
    [[ $device == cuda ]] || set -- "$@" train.device=cpu
    run_detectron2 lazyconfig_train_net.py "$gpus" "$config" "$@" ${WORK_DIR:+train.output_dir="$WORK_DIR"}
    ;;
*) run_mmseg "$gpus" train "$config" --launcher pytorch ${WORK_DIR:+--work-dir "$WORK_DIR"} "$@" ;;
esac
