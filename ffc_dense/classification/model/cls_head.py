"""What every FFC head adds to mmpretrain's head.

Shape shorthand: N images, C channels of the classified feature, K classes (``num_classes``), M outputs.
"""

from typing import TYPE_CHECKING

import torch
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from ...method.attaching import attach
from ...method.layers import FFCLinear
from ...method.options import split, takes_options
from ...openmmlab.model.ffc_head import FFCHead

if TYPE_CHECKING:
    from mmpretrain.models.heads import ClsHead as _Head  # what the mixin stands before
else:
    _Head = object


class FFCClsHead(FFCHead, _Head):
    """Stands before an mmpretrain head in the bases of an ``FFC*Head``.

    The head is identical to mmpretrain's, except that its last linear layer is an :class:`ffc_dense.FFCLinear`
    under the same name. ``forward`` returns normal (N, K) logits in both modes: the mean of the outputs in training,
    the winner's in testing. What mmpretrain makes of them stays as it is: losses, softmax, the K best classes (of the
    winning output, under the vote).

    With ``opinions`` the data samples of ``predict`` say what each output chose, see :func:`add_opinions`.

    Args:
        opinions: may be set at any time.
        **kwargs: the options of :class:`ffc_dense.FFCLinear`, and the arguments of the mmpretrain head.

    Raises:
        ValueError: an option has no such value; the message lists the valid ones.
        TypeError: two linear layers decide together (``distillation=True``).
    """

    @takes_options
    def __init__(self, *args, opinions: bool = False, **kwargs):
        options, kwargs = split(kwargs)
        super().__init__(*args, **kwargs)
        if getattr(self, "dist", False):
            raise TypeError(
                f"{type(self).__name__}: distillation=True averages two linear layers; set distillation=False "
                "(mmpretrain does not train distilled models either)"
            )
        self._classifier = [name for name, layer in self.named_modules() if isinstance(layer, nn.Linear)][-1]
        attach(self, self._classifier, **options)
        self.opinions = opinions

    @property
    def ffc_layer(self) -> FFCLinear:
        """The head's classifier."""
        layer = self.get_submodule(self._classifier)
        assert isinstance(layer, FFCLinear)
        return layer

    def outputs(self, feats: tuple) -> Tensor:
        """What the neck returned -> the logits of every output, (M, N, K); of another layer put in its place, M = 1."""
        layer, feature = self.get_submodule(self._classifier), self.pre_logits(feats)
        return layer.outputs(feature) if isinstance(layer, FFCLinear) else layer(feature)[None]

    def predict(self, feats: tuple, data_samples: list | None = None) -> list[DataSample]:
        """As in the stock head."""
        found = super().predict(feats, data_samples)
        if self.opinions:
            add_opinions(found, self.outputs(feats))
        return found


@torch.no_grad()
def add_opinions(samples: list[DataSample], outputs: Tensor) -> None:
    """Give each data sample ``output_labels`` and ``output_scores``, (M,): each output's choice and its probability.

    And ``agreement``, (1,): the share of the M outputs that chose the predicted label.

    Args:
        samples: N, with ``pred_label``.
        outputs: (M, N, K) logits.
    """
    scores, labels = outputs.float().softmax(2).max(2)
    for n, sample in enumerate(samples):
        sample.set_field(labels[:, n], "output_labels", dtype=torch.Tensor)
        sample.set_field(scores[:, n], "output_scores", dtype=torch.Tensor)
        agreement = (labels[:, n] == sample.pred_label).float().mean()[None]
        sample.set_field(agreement, "agreement", dtype=torch.Tensor)
