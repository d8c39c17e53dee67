"""MMPretrain's half of ``gradcam``: the decisions of a classifier of images or videos."""

from argparse import Namespace
from functools import partial
from typing import Any

from ...errors.reporting import reading_input
from ...openmmlab.inputs.config_errors import explain_build
from ...openmmlab.inputs.read_config import parse_options, read_config
from ..inputs.config_checks import takes_videos
from ..inspection.classifier import Classifier
from ..inspection.gradcam import ImageExplainer


def explainer(args: Namespace) -> tuple[Any, list[str]]:
    """The explainer and the names of the classes.

    Raises:
        UserError: the config or the checkpoint is wrong.
    """
    cfg = read_config(args.config, parse_options(args.cfg_options))
    with reading_input(partial(explain_build, cfg=cfg)):
        if takes_videos(cfg):
            from ...video.inspection.clip_classifier import ClipClassifier
            from ...video.inspection.gradcam import ClipExplainer

            clips = ClipClassifier(cfg, args.checkpoint)
            return ClipExplainer(clips), list(clips.classes)
        classifier = Classifier(cfg, args.checkpoint)
        return ImageExplainer(classifier), list(classifier.classes)
