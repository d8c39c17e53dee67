"""Train and evaluate detectron2 models, with or without FFC, on datasets in COCO's format.

Follows detectron2's ``tools/train_net.py``, except that FFC's config keys and ROI heads and the mini dataset are there,
that ``MODEL.DEVICE cuda`` becomes ``cpu`` on a machine without CUDA, that a training writes its settings, as scaled, to
``OUTPUT_DIR/train_config.yaml``, and that ``--eval-only`` refuses a checkpoint that lacks weights of the model and
writes ``OUTPUT_DIR/results.json``, which names the checkpoint. With ``MODEL.DEVICE cpu``, ``--num-gpus`` is the number
of CPU processes. Weights that are missing or cannot be downloaded, mixed precision away from CUDA, and what is not
there (other evaluators than COCO's, ``TEST.AUG``) are refused before any data is read. Config, weights and proposal
files are data: nothing in them runs (SECURITY.md). A wrong config is one message and exit code 2; ``--debug`` shows
the traceback. A training starts with a check of its datasets, which takes seconds (``--dataset-check``,
docs/DATASETS.md). A training survives a kill, a full disk, SIGTERM (exit code 143) and losses of NaN, see
``ReliableTrainer``.
"""

import logging
import os
import signal
from functools import partial
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.engine import default_argument_parser, default_setup
from detectron2.evaluation import COCOEvaluator, verify_results
from detectron2.utils import comm

from ffc_dense.detection import EvalCheckpointer
from ffc_dense.detection.inputs.config_errors import explain_build
from ffc_dense.detection.inputs.dataset_check import add_dataset_check_argument, check_datasets
from ffc_dense.detection.inputs.read_config import read_config
from ffc_dense.detection.inputs.startup import check_amp, check_weights, choose_device
from ffc_dense.detection.training.preemption import launch
from ffc_dense.detection.training.scalars import OutputScalarsHook
from ffc_dense.detection.training.trainer import ReliableTrainer
from ffc_dense.errors import UserError
from ffc_dense.errors.reporting import add_debug_argument, reading_input, reporting
from ffc_dense.reliability.run_folder import claim_run_folder
from ffc_dense.runs.files import within_run
from ffc_dense.runs.train_config import write_train_config
from ffc_dense.safe_files import add_weights_only_argument, require_safetensors
from ffc_dense.text import write_json


class Trainer(ReliableTrainer):
    def build_hooks(self) -> list:
        period = self.cfg.MODEL.ROI_BOX_HEAD.FFC.SCALARS_PERIOD
        return [*super().build_hooks(), OutputScalarsHook(self.model, period)]

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str, output_folder: str | None = None) -> COCOEvaluator:
        return COCOEvaluator(dataset_name, output_dir=output_folder or os.path.join(cfg.OUTPUT_DIR, "inference"))


def check_evaluation(cfg: CfgNode) -> None:
    for name in cfg.DATASETS.TEST:
        kind = MetadataCatalog.get(name).get("evaluator_type")
        if kind != "coco":
            raise UserError(
                f"DATASETS.TEST: {name} needs the evaluator {kind!r}, this script has 'coco' only: "
                "name another dataset, or extend Trainer.build_evaluator as detectron2's tools/train_net.py does"
            )
    if cfg.TEST.AUG.ENABLED:
        raise UserError("TEST.AUG.ENABLED: this script has no test-time augmentation; set it to False")


def setup(args) -> CfgNode:
    cfg = read_config(args.config_file, args.opts)
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
        if not args.eval_only:
            if not cfg.DATASETS.TRAIN:
                raise UserError("DATASETS.TRAIN: there is nothing to train on; name a registered dataset")
            part = "RETINANET" if cfg.MODEL.META_ARCHITECTURE == "RetinaNet" else "ROI_HEADS"
            classes, key = cfg.MODEL[part].NUM_CLASSES, f"MODEL.{part}.NUM_CLASSES"
            mode = getattr(args, "dataset_check", "error")
            check_datasets(cfg.DATASETS.TRAIN, cfg.DATASETS.TEST, classes, key, mode)
        cfg.freeze()
        if not args.eval_only and comm.is_main_process():
            claim_run_folder(cfg.OUTPUT_DIR, "OUTPUT_DIR", resumes=args.resume, checkpoints="model_*.pth")
        default_setup(cfg, args)
    if cfg.MODEL.DEVICE != wanted:
        logging.getLogger("detectron2").warning("MODEL.DEVICE: no CUDA on this machine, running on the CPU")
    return cfg


def evaluate(cfg: CfgNode, resume: bool) -> dict:
    with reading_input(partial(explain_build, cfg=cfg)):
        model = Trainer.build_model(cfg)
        checkpointer = EvalCheckpointer(model, save_dir=cfg.OUTPUT_DIR)
        checkpointer.resume_or_load(cfg.MODEL.WEIGHTS, resume=resume)
    results = Trainer.test(cfg, model)
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
        return evaluate(cfg, args.resume)
    with reading_input(partial(explain_build, cfg=cfg)):
        trainer = Trainer(cfg)
        trainer.resume_or_load(resume=args.resume)
    if comm.is_main_process():
        resumed = args.resume and trainer.checkpointer.has_checkpoint()
        write_train_config(Path(cfg.OUTPUT_DIR), trainer.cfg.dump(), comm.get_world_size(), resumed)
    return trainer.train()


def reported_main(args):
    """:func:`main`, where an error of the input is a message and an exit code; in each process of the job."""
    with reporting("train_net.py", args.debug):
        return main(args)


def parse_args(argv: list[str] | None = None):
    parser = default_argument_parser()
    add_weights_only_argument(parser)
    add_dataset_check_argument(parser)
    add_debug_argument(parser)
    return parser.parse_args(argv)


def command(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    # launch() ends its ranks with SIGINT when this process dies, which a shell makes its background jobs ignore.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with reporting("train_net.py", args.debug):
        launch(
            reported_main,
            args.num_gpus,
            num_machines=args.num_machines,
            machine_rank=args.machine_rank,
            dist_url=args.dist_url,
            args=(args,),
        )
