"""detectron2's half of ``gradcam``: the boxes of a detector."""

from argparse import Namespace
from functools import partial

from ...errors import UserError
from ...errors.reporting import reading_input
from .. import Detector
from ..inputs.architectures import boxes_alone
from ..inputs.config_errors import explain_build
from ..inputs.read_config import read_config
from ..inspection.gradcam import BoxExplainer


def explainer(args: Namespace) -> tuple[BoxExplainer, list[str]]:
    """The explainer and the names of the classes.

    Raises:
        UserError: the config, the checkpoint or an argument is wrong.
    """
    if args.pixel is not None:
        raise UserError("--pixel is for mmseg; a detector's boxes are explained")
    cfg = read_config(args.config, args.opts, splits=())
    boxes_alone(cfg)
    with reading_input(partial(explain_build, cfg=cfg)):
        detector = Detector(cfg, args.checkpoint, opinions=True, confidence_threshold=args.confidence_threshold)
        found = BoxExplainer(detector)
    return found, found.names[: found.head.kept]
