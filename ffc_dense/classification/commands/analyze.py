"""The mmpretrain side of ``analyze``."""

from functools import partial

from mmengine.config import Config
from mmengine.runner import Runner

from ffc_dense.classification.commands.evaluate import check_class_folders
from ffc_dense.classification.inputs.config_checks import takes_videos
from ffc_dense.classification.inspection import analysis  # noqa: F401  (registers the loop)
from ffc_dense.errors import UserError
from ffc_dense.errors.reporting import reading_input
from ffc_dense.frameworks import MMPRETRAIN
from ffc_dense.openmmlab.commands.run_config import left_by_tests
from ffc_dense.openmmlab.evaluation.evaluators import loop_config
from ffc_dense.openmmlab.inputs.checkpoint import load_for_evaluation
from ffc_dense.openmmlab.inputs.config_checks import check_folders
from ffc_dense.openmmlab.inputs.config_errors import explain_build, in_a_loop, type_name
from ffc_dense.openmmlab.inputs.read_config import parse_options, read_config

DECISIONS = {"images": "the label of an image", "videos": "the label of a video"}


def setup(config: str, overrides: list[str], gallery: int, folder: str) -> Config:
    cfg = read_config(config, parse_options(overrides))
    if "test_dataloader" not in cfg:
        raise UserError(f"{config}: test_dataloader is needed, it has {', '.join(cfg)}")
    check_folders(cfg, ("test_dataloader",))
    cfg.launcher, cfg.work_dir = "none", folder
    cfg.load_from, cfg.resume = None, False  # loaded here, with a check
    cfg.test_dataloader.setdefault("collate_fn", dict(type="default_collate"))  # as mmpretrain's test.py
    top5 = 5 if (cfg.model.get("head") or {}).get("num_classes", 5) >= 5 else 1
    cfg.test_evaluator = dict(type="mmpretrain.Accuracy", topk=(1, top5))
    if takes_videos(cfg):
        from ffc_dense.video.inspection import analysis as _  # noqa: F401  (registers the loop)
    loop = "VideoAnalysisTestLoop" if takes_videos(cfg) else "AnalysisTestLoop"
    cfg.test_cfg = loop_config(cfg, f"mmpretrain.{loop}", gallery=gallery)
    return cfg


def analyze(config: str, checkpoint: str, overrides: list[str], gallery: int, folder: str) -> dict:
    """The report of :class:`ffc_dense.inspection.analysis.Analysis`, in one pass over the test set."""
    with reading_input():
        cfg = setup(config, overrides, gallery, folder)
    with reading_input(partial(explain_build, cfg=cfg)), left_by_tests():
        runner = Runner.from_cfg(cfg)
        load_for_evaluation(runner.model, checkpoint)
        check_class_folders(runner, [checkpoint])
        loop = runner.test_loop
    with reading_input(partial(explain_build, cfg=cfg), unless=in_a_loop):
        found = runner.test()
    main, prefix = MMPRETRAIN.main_metric, MMPRETRAIN.log_prefix
    scores: dict[str, dict] = {}
    for name in loop.analysis.names:
        scores[name] = {f"class.{label}": share for label, share in loop.class_accuracy(name).items()}
        scores[name][main] = float(found[f"{name}/{prefix}{main}"])
    unit = "videos" if takes_videos(cfg) else "images"
    about = {"framework": MMPRETRAIN.name, "dataset": type_name(cfg.test_dataloader.dataset)}
    about |= {"decision": DECISIONS[unit], "unit": unit}
    return about | {"classes": loop.class_names} | loop.analysis.report(main, scores)
