"""MMPretrain's half of ``gradcam``: the decisions of a classifier."""

from argparse import Namespace
from functools import partial

from ...errors.reporting import reading_input
from ...openmmlab.inputs.config_errors import explain_build
from ...openmmlab.inputs.read_config import parse_options, read_config
from ..inspection.classifier import Classifier
from ..inspection.gradcam import ImageExplainer


def explainer(args: Namespace) -> tuple[ImageExplainer, list[str]]:
    """The explainer and the names of the classes.

    Raises:
        UserError: the config or the checkpoint is wrong.
    """
    cfg = read_config(args.config, parse_options(args.cfg_options))
    with reading_input(partial(explain_build, cfg=cfg)):
        classifier = Classifier(cfg, args.checkpoint)
        return ImageExplainer(classifier), list(classifier.classes)
