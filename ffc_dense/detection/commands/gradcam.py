"""detectron2's half of ``gradcam``: the boxes of a detector."""

from argparse import Namespace
from functools import partial

from ...errors import UserError
from ...errors.reporting import reading_input
from .. import Detector
from ..inputs.architectures import boxes_alone
from ..inputs.config_errors import explain_build, explain_lazy
from ..inputs.lazy import is_lazy, read_lazy_config
from ..inputs.read_config import read_config
from ..inspection.gradcam import BoxExplainer


def explainer(args: Namespace) -> tuple[BoxExplainer, list[str]]:
    """The explainer and the names of the classes.

    Raises:
        UserError: the config, the checkpoint or an argument is wrong.
    """
    if args.pixel is not None:
        raise UserError("--pixel is for mmseg; a detector's boxes are explained")
    if is_lazy(args.config):
        cfg, explain = read_lazy_config(args.config, args.opts, ()), explain_lazy
    else:
        cfg, explain = read_config(args.config, args.opts, splits=()), explain_build
        boxes_alone(cfg)
    with reading_input(partial(explain, cfg=cfg)):
        detector = Detector(cfg, args.checkpoint, opinions=True, confidence_threshold=args.confidence_threshold)
        found = BoxExplainer(detector)
    return found, found.names[: found.head.kept]
