"""mmpretrain's linear head with one of the variants as classifier."""

from mmpretrain.registry import MODELS
from torch import nn

from ffc_dense.classification import FFCLinearClsHead

from .plan import HEADS
from .variants import VariantLinear


@MODELS.register_module()
class VariantClsHead(FFCLinearClsHead):
    """Identical to ``LinearClsHead``, except that ``fc`` is the :class:`VariantLinear` of a head in HEADS.

    Args:
        evidence: the key in HEADS; its variant is not None.
        **kwargs: those of ``LinearClsHead``.
    """

    def __init__(self, *, evidence: str, **kwargs):
        super().__init__(num_filters=0, **kwargs)
        plain = nn.utils.skip_init(nn.Linear, self.in_channels, self.num_classes)  # draws no random number
        plain.weight, plain.bias = self.fc.weight, self.fc.bias
        self.fc = VariantLinear.from_layer(plain, HEADS[evidence].variant)
