#!/usr/bin/env bash
set -euo pipefail

usage="Evaluate a checkpoint with one process per GPU of this machine, or of this machine's share of several.

  tools/dist_test.sh CONFIG CHECKPOINT GPUS [ARGS]

CONFIG      as for tools/dist_train.sh; detectron2's scripts get --eval-only, MMSegmentation runs its test.py
CHECKPOINT  .pth file
GPUS        of this machine
ARGS        passed on. detectron2: KEY VALUE (.yaml) or KEY=VALUE (LazyConfig).
            mmseg, mmpretrain: --tta, --out DIR, --cfg-options KEY=VALUE

Environment: as for tools/dist_train.sh"

source "$(dirname -- "${BASH_SOURCE[0]}")/launch_common.sh"

config=${1:-} checkpoint=${2:-} gpus=${3:-}
need_file CONFIG "$config"
need_file CHECKPOINT "$checkpoint"
need_number GPUS "$gpus" 1
check_nodes
shift 3

kind=$(framework "$config")
case $kind in
detectron2)
    [[ $device == cuda ]] || set -- "$@" MODEL.DEVICE cpu
    run_detectron2 train_net.py "$gpus" "$config" --eval-only "$@" MODEL.WEIGHTS "$checkpoint" \
        ${WORK_DIR:+OUTPUT_DIR "$WORK_DIR"}
    ;;
lazyconfig)
    [[ $device == cuda ]] || set -- "$@" train.device=cpu
    run_detectron2 lazyconfig_train_net.py "$gpus" "$config" --eval-only "$@" train.init_checkpoint="$checkpoint" \
        ${WORK_DIR:+train.output_dir="$WORK_DIR"}
    ;;
*) run_mmseg "$gpus" test "$config" "$checkpoint" --launcher pytorch ${WORK_DIR:+--work-dir "$WORK_DIR"} "$@" ;;
esac
