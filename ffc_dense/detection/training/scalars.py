"""Accuracy of every output and active units of every stage in detectron2's EventStorage."""

from contextlib import ExitStack
from functools import partial
from unittest.mock import patch

import torch
from detectron2.engine import HookBase
from detectron2.utils import comm
from detectron2.utils.events import get_event_storage
from torch import Tensor, nn

from ...errors import UserError
from ...inspection.training_scalars import training_scalars
from ..model.predictor import FFCFastRCNNOutputLayers


class OutputScalarsHook(HookBase):
    """Puts ``ffc/out1/accuracy`` ... ``ffc/vote/accuracy`` and ``ffc/stage0/active_units`` ... into the storage.

    Accuracies are over the proposals that the box head trains on, before the step, as ``fast_rcnn/cls_accuracy`` is.
    In a cascade detectron2 puts ``stage0/``, ``stage1/``, ... before the names. With ``use_sigmoid_ce`` there are the
    active units alone. Between the iterations that are looked at, the model runs as it would without the hook. The
    first process alone computes them, from its own part of the batch; nothing is exchanged.

    Args:
        model: the detector, bare or in DistributedDataParallel. Without an FFC box predictor the hook does nothing.
        period: iterations from one look to the next; 0 for none.

    Raises:
        UserError: ``period`` is not an integer of at least 0.
    """

    def __init__(self, model: nn.Module, period: int = 100):
        if isinstance(period, bool) or not isinstance(period, int) or period < 0:
            raise UserError(
                "MODEL.ROI_BOX_HEAD.FFC.SCALARS_PERIOD (LazyConfig: train.ffc_scalars_period): expected a whole number "
                f"of iterations, 0 for off, got {period!r}"
            )
        predictors = [each for each in model.modules() if isinstance(each, FFCFastRCNNOutputLayers)]
        self.period = period
        self.predictors = predictors if period > 0 and comm.is_main_process() else []
        self._noting = ExitStack()

    def before_step(self) -> None:
        if not self.predictors or (self.trainer.iter + 1) % self.period:
            return
        for predictor in self.predictors:
            features: list[Tensor] = []
            handle = predictor.register_forward_pre_hook(partial(_note, features))
            self._noting.callback(handle.remove)
            looking = partial(_losses, predictor, features, predictor.losses)
            self._noting.enter_context(patch.object(predictor, "losses", looking))

    def after_step(self) -> None:
        self._noting.close()

    def after_train(self) -> None:
        self.after_step()


def _note(features: list[Tensor], predictor: nn.Module, args: tuple) -> None:
    features[:] = [args[0].detach().flatten(1)]


def _losses(predictor, features: list[Tensor], losses, predictions, proposals):
    """``losses`` of the predictor, which is where its labels are."""
    if features:
        labels = None  # the background's logit of a sigmoid classifier is not trained: there is no decision to count
        if proposals and not predictor.use_sigmoid_ce:
            labels = torch.cat([each.gt_classes for each in proposals])
        for name, value in training_scalars(predictor.cls_score, features.pop(), labels).items():
            get_event_storage().put_scalar(f"ffc/{name}", value, smoothing_hint=False)
    return losses(predictions, proposals)
