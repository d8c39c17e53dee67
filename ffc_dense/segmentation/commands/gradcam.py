"""MMSegmentation's half of ``gradcam``: the regions of a segmentor."""

from argparse import Namespace
from functools import partial

from ...errors.reporting import reading_input
from ...openmmlab.inputs.config_errors import explain_build
from ...openmmlab.inputs.read_config import parse_options, read_config
from .. import Segmentor
from ..inspection.gradcam import RegionExplainer


def explainer(args: Namespace) -> tuple[RegionExplainer, list[str]]:
    """The explainer and the names of the classes.

    Raises:
        UserError: the config or the checkpoint is wrong.
    """
    cfg = read_config(args.config, parse_options(args.cfg_options))
    with reading_input(partial(explain_build, cfg=cfg)):
        segmentor = Segmentor(cfg, args.checkpoint)
        return RegionExplainer(segmentor), list(segmentor.classes)
