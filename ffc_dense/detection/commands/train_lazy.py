"""Train and evaluate the models of detectron2's LazyConfigs (``.py``), with or without FFC.

Takes the arguments and the configs of detectron2's ``tools/lazyconfig_train_net.py`` (overrides are ``key=value``).
The differences are those of ``tools/train_net.py``: ``train.device`` cuda becomes cpu on a machine without CUDA,
``--eval-only`` refuses a checkpoint that lacks weights of the model and writes ``train.output_dir/results.json``, and
missing weights or mixed precision away from CUDA are refused before any data is read, and the datasets are checked
before the first iteration. A wrong config is one message and exit code 2; ``--debug`` shows the traceback. Nothing in
weights runs. A LazyConfig is a program: run none that you would not run as a script. Dumped as .yaml it still is one,
since ``_target_`` calls what it names, but does not look like one: such a file is refused.
"""

import logging
import os
import signal
from functools import partial

from detectron2.config import LazyConfig, instantiate
from detectron2.engine import default_argument_parser, default_setup, default_writers, hooks
from detectron2.evaluation import inference_on_dataset, print_csv_format
from detectron2.utils import comm
from omegaconf import DictConfig, OmegaConf
from torch import nn

from ffc_dense.detection import EvalCheckpointer
from ffc_dense.detection.inputs.config_checks import check_lazy_config, lazy_datasets
from ffc_dense.detection.inputs.config_errors import check_overrides, explain_lazy, explain_lazy_file, explain_overrides
from ffc_dense.detection.inputs.dataset_check import add_dataset_check_argument, check_datasets
from ffc_dense.detection.inputs.startup import check_amp, check_weights, choose_device
from ffc_dense.detection.installing import create_ddp_model
from ffc_dense.detection.training.atomic_checkpoint import AtomicCheckpointer, KeepNewest
from ffc_dense.detection.training.data_stream import ContinueDataStream
from ffc_dense.detection.training.finite_loss import FiniteLossAMPTrainer, FiniteLossTrainer
from ffc_dense.detection.training.preemption import StopOnSigterm, launch
from ffc_dense.detection.training.scalars import OutputScalarsHook
from ffc_dense.detection.training.trainer import errors_without_traceback
from ffc_dense.errors.reporting import add_debug_argument, reading_input, reporting
from ffc_dense.reliability.random_state import kept_random_state
from ffc_dense.reliability.run_folder import claim_run_folder
from ffc_dense.safe_files import UnsafeFileError, add_weights_only_argument
from ffc_dense.text import write_json


def check_is_program(args) -> None:
    """Refuse what would run code without being seen to.

    Raises:
        UnsafeFileError: the config is not a .py file, or ``--weights-only`` was given.
    """
    if getattr(args, "weights_only", False):
        raise UnsafeFileError("--weights-only: every LazyConfig is a program; use train_net.py and the .yaml twin")
    if not args.config_file.endswith(".py"):
        raise UnsafeFileError(
            f"--config-file {args.config_file}: expected a LazyConfig, a .py file. A .yaml file of detectron2's keys "
            "goes to train_net.py; a LazyConfig dumped as .yaml is a program in disguise: give the .py file"
        )


def read_config(args) -> DictConfig:
    with reading_input(partial(explain_lazy_file, path=args.config_file)):
        check_is_program(args)
        cfg = LazyConfig.load(args.config_file)
    with reading_input(partial(explain_overrides, overrides=args.opts)):
        check_overrides(cfg, args.opts)
        return LazyConfig.apply_overrides(cfg, args.opts)


def setup(args) -> DictConfig:
    cfg = read_config(args)
    with reading_input(partial(explain_lazy, cfg=cfg)):
        check_lazy_config(cfg)
        train = cfg.train
        wanted = train.device
        train.device = choose_device(wanted, "train.device", args.num_gpus * args.num_machines)
        check_amp(train.amp.enabled and not args.eval_only, "train.amp.enabled", train.device)
        check_weights(
            train.init_checkpoint,
            "train.init_checkpoint",
            output_dir=train.output_dir,
            resume=args.resume,
            needed=args.eval_only,
        )
        if not args.eval_only:
            mode = getattr(args, "dataset_check", "error")
            classes = OmegaConf.select(cfg, "model.roi_heads.num_classes")
            check_datasets(*lazy_datasets(cfg), classes, "model.roi_heads.num_classes", mode)
        if not args.eval_only and comm.is_main_process():
            claim_run_folder(train.output_dir, "train.output_dir", resumes=args.resume, checkpoints="model_*.pth")
        default_setup(cfg, args)
    if train.device != wanted:
        logging.getLogger("detectron2").warning("train.device: no CUDA on this machine, running on the CPU")
    return cfg


def build(cfg: DictConfig, key: str):
    """What the node ``key`` of the config stands for."""
    with reading_input(partial(explain_lazy, cfg=cfg)):
        return instantiate(OmegaConf.select(cfg, key))


def build_model(cfg: DictConfig) -> nn.Module:
    with reading_input(lambda error: f"train.device {cfg.train.device!r}: {error}; name cuda or cpu"):
        model = build(cfg, "model").to(cfg.train.device)
    logging.getLogger("detectron2").info("Model:\n%s", model)
    return model


def test(cfg: DictConfig, model: nn.Module) -> dict:
    """{task: {metric: value}} of ``cfg.dataloader.test``; empty without ``cfg.dataloader.evaluator``."""
    if "evaluator" not in cfg.dataloader:
        return {}
    loader, evaluator = build(cfg, "dataloader.test"), build(cfg, "dataloader.evaluator")
    results = inference_on_dataset(model, loader, evaluator)
    print_csv_format(results)
    return results


def evaluate(cfg: DictConfig, resume: bool) -> dict:
    model = build_model(cfg)
    checkpointer = EvalCheckpointer(model, cfg.train.output_dir, weights_key="train.init_checkpoint")
    with reading_input():
        checkpointer.resume_or_load(cfg.train.init_checkpoint, resume=resume)
    results = test(cfg, model)
    if comm.is_main_process():
        write_json(results, os.path.join(cfg.train.output_dir, "results.json"))
    return results


def train(cfg: DictConfig, resume: bool) -> None:
    model = build_model(cfg)
    cfg.optimizer.params.model = model
    optimizer = build(cfg, "optimizer")
    loader = build(cfg, "dataloader.train")
    model = create_ddp_model(model, **cfg.train.ddp)
    kind = FiniteLossAMPTrainer if cfg.train.amp.enabled else FiniteLossTrainer
    trainer = kind(model, loader, optimizer, **cfg.train.get("non_finite_loss", {}))
    checkpointer = AtomicCheckpointer(model, cfg.train.output_dir, optimizer=optimizer, trainer=trainer)
    first = [hooks.IterationTimer(), hooks.LRScheduler(scheduler=build(cfg, "lr_multiplier"))]
    scalars = OutputScalarsHook(model, cfg.train.get("ffc_scalars_period", 100))
    last = [ContinueDataStream(), StopOnSigterm(checkpointer), scalars]
    evaluation = hooks.EvalHook(cfg.train.eval_period, kept_random_state()(lambda: test(cfg, model)))
    if comm.is_main_process():
        writers = default_writers(cfg.train.output_dir, cfg.train.max_iter)
        saving = KeepNewest(checkpointer, **cfg.train.checkpointer)
        writing = hooks.PeriodicWriter(writers, cfg.train.log_period)
        trainer.register_hooks([*first, saving, evaluation, writing, *last])
    else:
        trainer.register_hooks([*first, evaluation, *last])
    with reading_input():
        checkpointer.resume_or_load(cfg.train.init_checkpoint, resume=resume)
    resumed = resume and checkpointer.has_checkpoint()
    with errors_without_traceback():
        trainer.train(trainer.iter + 1 if resumed else 0, cfg.train.max_iter)


def main(args):
    cfg = setup(args)
    return evaluate(cfg, args.resume) if args.eval_only else train(cfg, args.resume)


def reported_main(args):
    """:func:`main`, where an error of the input is a message and an exit code; in each process of the job."""
    with reporting("lazyconfig_train_net.py", args.debug):
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
    with reporting("lazyconfig_train_net.py", args.debug):
        launch(
            reported_main,
            args.num_gpus,
            num_machines=args.num_machines,
            machine_rank=args.machine_rank,
            dist_url=args.dist_url,
            args=(args,),
        )
