"""What every FFC head adds to its mmpretrain twin.

Shape shorthand: N images, C channels of the classified feature, K classes (``num_classes``), M outputs.
"""

from typing import TYPE_CHECKING

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

    The head is identical to its mmpretrain twin, except that its last linear layer is an :class:`ffc_dense.FFCLinear`
    under the same name. ``forward`` returns normal (N, K) logits in both modes: the mean of the outputs in training,
    the winner's in testing. What mmpretrain makes of them stays as it is: losses, softmax, the K best classes (of the
    winning output, under the vote).

    Args:
        **kwargs: the options of :class:`ffc_dense.FFCLinear`, and the arguments of the mmpretrain head.

    Raises:
        ValueError: an option has no such value; the message lists the valid ones.
        TypeError: two linear layers decide together (``distillation=True``).
    """

    @takes_options
    def __init__(self, *args, **kwargs):
        options, kwargs = split(kwargs)
        super().__init__(*args, **kwargs)
        if getattr(self, "dist", False):
            raise TypeError(
                f"{type(self).__name__}: distillation=True averages two linear layers; set distillation=False "
                "(mmpretrain does not train distilled models either)"
            )
        self._classifier = [name for name, layer in self.named_modules() if isinstance(layer, nn.Linear)][-1]
        attach(self, self._classifier, **options)

    @property
    def ffc_layer(self) -> FFCLinear:
        """The head's classifier."""
        layer = self.get_submodule(self._classifier)
        assert isinstance(layer, FFCLinear)
        return layer

    def outputs(self, feats: tuple) -> Tensor:
        """What the neck returned -> the logits of every output, (M, N, K)."""
        return self.ffc_layer.outputs(self.pre_logits(feats))
