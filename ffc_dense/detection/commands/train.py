"""Train and evaluate detectron2 models, with or without FFC.

Follows detectron2's ``tools/train_net.py``, except that FFC's config keys and ROI heads and the mini dataset are there,
that ``MODEL.DEVICE cuda`` becomes ``cpu`` on a machine without CUDA, that a training writes its settings, as scaled, to
``OUTPUT_DIR/train_config.yaml``, and that ``--eval-only`` refuses a checkpoint that lacks weights of the model and
writes ``OUTPUT_DIR/results.json``, which names the checkpoint; it changes no file of a training that is in the folder,
and logs into ``OUTPUT_DIR/eval_only`` there. With ``MODEL.DEVICE cpu``, ``--num-gpus`` is the number of CPU processes.
The evaluators are detectron2's, by the dataset's ``evaluator_type``, and ``TEST.AUG`` is its test-time augmentation.
Weights that are missing or cannot be downloaded, mixed precision away from CUDA, and evaluators that are not there are
refused before any data is read. Config, weights and proposal files are data: nothing in them runs (SECURITY.md). A
wrong config is one message and exit code 2; ``--debug`` shows the traceback. A training starts with a check of its
datasets, which takes seconds (``--dataset-check``, docs/how-to/datasets.md). A training survives a kill, a full
disk, SIGTERM (exit code 143) and losses of NaN, see ``ReliableTrainer``.
"""

import logging
import os
from argparse import Namespace
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.engine import hooks
from detectron2.evaluation import DatasetEvaluator, verify_results
from detectron2.modeling import GeneralizedRCNNWithTTA
from detectron2.utils import comm

from ffc_dense.detection import EvalCheckpointer
from ffc_dense.detection.commands.running import argument_parser, run
from ffc_dense.detection.evaluation.evaluators import (
    build_evaluator,
    build_test_loader,
    check_augmentation,
    check_evaluators,
)
from ffc_dense.detection.inputs.architectures import num_classes
from ffc_dense.detection.inputs.checkpoint import check_class_order
from ffc_dense.detection.inputs.config_checks import SPLITS
from ffc_dense.detection.inputs.config_errors import explain_build
from ffc_dense.detection.inputs.dataset_check import add_dataset_check_argument, check_datasets
from ffc_dense.detection.inputs.datasets import register_own
from ffc_dense.detection.inputs.output_folder import refused_resumption_restored, set_up, with_output_folder
from ffc_dense.detection.inputs.read_config import read_config
from ffc_dense.detection.inputs.startup import check_amp, check_weights, choose_device
from ffc_dense.detection.training.scalars import OutputScalarsHook
from ffc_dense.detection.training.trainer import ReliableTrainer
from ffc_dense.errors import UserError
from ffc_dense.errors.reporting import reading_input
from ffc_dense.reliability.resuming import CannotResume
from ffc_dense.reliability.run_folder import claim_run_folder
from ffc_dense.runs.files import within_run
from ffc_dense.runs.train_config import changed_settings, write_train_config
from ffc_dense.safe_files import require_safetensors
from ffc_dense.text import write_json


class Trainer(ReliableTrainer):
    def build_hooks(self) -> list:
        period = self.cfg.MODEL.ROI_BOX_HEAD.FFC.SCALARS_PERIOD
        found = [*super().build_hooks(), OutputScalarsHook(self.model, period)]
        if self.cfg.TEST.AUG.ENABLED:
            place = next(i for i, hook in enumerate(found) if isinstance(hook, hooks.EvalHook)) + 1
            found.insert(place, hooks.EvalHook(0, lambda: self.test_with_tta(self.cfg, self.model)))  # at the end
        return found

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str, output_folder: str | None = None) -> DatasetEvaluator:
        return build_evaluator(dataset_name, output_folder or os.path.join(cfg.OUTPUT_DIR, "inference"), cfg)

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> Iterable[list[dict]]:
        return build_test_loader(cfg, dataset_name)

    @classmethod
    def test_with_tta(cls, cfg: CfgNode, model) -> dict:
        """The scores of ``TEST.AUG``, {task_TTA: {metric: value}}, named as in detectron2's ``tools/train_net.py``."""
        folder = os.path.join(cfg.OUTPUT_DIR, "inference_TTA")
        evaluators = [cls.build_evaluator(cfg, name, folder) for name in cfg.DATASETS.TEST]
        results = cls.test(cfg, GeneralizedRCNNWithTTA(cfg, model), evaluators)
        return {f"{task}_TTA": values for task, values in results.items()}


def check_evaluation(cfg: CfgNode) -> None:
    """Refuse what this package cannot score: evaluators, test-time augmentation.

    Raises:
        UserError: the message names the key, and what to do.
    """
    check_evaluators(cfg.DATASETS.TEST, "DATASETS.TEST")
    if cfg.TEST.AUG.ENABLED:
        check_augmentation(cfg)


def setup(args) -> CfgNode:
    register_own(getattr(args, "datasets", []))
    cfg = read_config(args.config_file, args.opts, ("TEST",) if args.eval_only else SPLITS)
    wanted = cfg.MODEL.DEVICE
    with reading_input(partial(explain_build, cfg=cfg)):
        if getattr(args, "weights_only", False):
            require_safetensors(cfg.MODEL.WEIGHTS, "MODEL.WEIGHTS")
        check_evaluation(cfg)
        cfg.MODEL.DEVICE = choose_device(wanted, "MODEL.DEVICE", args.num_gpus * args.num_machines)
        check_amp(cfg.SOLVER.AMP.ENABLED and not args.eval_only, "SOLVER.AMP.ENABLED", cfg.MODEL.DEVICE)
        check_weights(
            cfg.MODEL.WEIGHTS, "MODEL.WEIGHTS", output_dir=cfg.OUTPUT_DIR, resume=args.resume, needed=args.eval_only
        )
        if args.eval_only and not cfg.DATASETS.TEST:
            raise UserError("DATASETS.TEST: there is nothing to evaluate on; name a registered dataset")
        if not args.eval_only:
            if not cfg.DATASETS.TRAIN:
                raise UserError("DATASETS.TRAIN: there is nothing to train on; name a registered dataset")
            classes, key = num_classes(cfg)
            mode = getattr(args, "dataset_check", "error")
            check_datasets(cfg.DATASETS.TRAIN, cfg.DATASETS.TEST, classes, key, mode)
        cfg.freeze()
        if not args.eval_only and comm.is_main_process():
            claim_run_folder(cfg.OUTPUT_DIR, "OUTPUT_DIR", resumes=args.resume, checkpoints="model_*.pth")
        args.log_folder = set_up(cfg, args)
    if cfg.MODEL.DEVICE != wanted:
        logging.getLogger("detectron2").warning("MODEL.DEVICE: no CUDA on this machine, running on the CPU")
    return cfg


def evaluate(cfg: CfgNode, resume: bool, folder: str = "") -> dict:
    """Score a checkpoint: detections into ``folder`` (default: OUTPUT_DIR), scores into ``OUTPUT_DIR/results.json``."""
    with reading_input(partial(explain_build, cfg=cfg)):
        model = Trainer.build_model(cfg)
        checkpointer = EvalCheckpointer(model, save_dir=cfg.OUTPUT_DIR)
        content = checkpointer.resume_or_load(cfg.MODEL.WEIGHTS, resume=resume)
        check_class_order(content, cfg.MODEL.WEIGHTS, cfg.DATASETS.TEST, "DATASETS.TEST")
    own = with_output_folder(cfg, folder or cfg.OUTPUT_DIR)
    results = Trainer.test(own, model)
    if cfg.TEST.AUG.ENABLED:
        results.update(Trainer.test_with_tta(own, model))
    if comm.is_main_process():
        verify_results(cfg, results)
        last = resume and checkpointer.has_checkpoint()
        head = cfg.MODEL.ROI_HEADS.NAME
        evaluated = {
            "weights": checkpointer.get_checkpoint_file() if last else cfg.MODEL.WEIGHTS,
            "reduction": cfg.MODEL.ROI_BOX_HEAD.FFC.TEST_REDUCE if head.startswith("FFC") else "stock",
            "dataset": cfg.DATASETS.TEST[0] if len(cfg.DATASETS.TEST) == 1 else None,
        }
        evaluated |= within_run(evaluated["weights"], cfg.OUTPUT_DIR)
        write_json({**results, "evaluated": evaluated}, os.path.join(cfg.OUTPUT_DIR, "results.json"))
    return results


def main(args):
    cfg = setup(args)
    if args.eval_only:
        return evaluate(cfg, args.resume, args.log_folder)
    with refused_resumption_restored(args), reading_input(partial(explain_build, cfg=cfg)):
        trainer = Trainer(cfg)
        try:
            trainer.resume_or_load(resume=args.resume)
        except CannotResume as error:
            changed = changed_settings(Path(cfg.OUTPUT_DIR), trainer.cfg.dump())
            raise CannotResume(error.checkpoint, error.cause, changed) from error
    if comm.is_main_process():
        resumed = args.resume and trainer.checkpointer.has_checkpoint()
        write_train_config(Path(cfg.OUTPUT_DIR), trainer.cfg.dump(), comm.get_world_size(), resumed)
    return trainer.train()


def parse_args(argv: list[str] | None = None) -> Namespace:
    parser = argument_parser()
    add_dataset_check_argument(parser)
    return parser.parse_args(argv)


def command(argv: list[str] | None = None) -> None:
    run(main, "train_net.py", parse_args(argv))
