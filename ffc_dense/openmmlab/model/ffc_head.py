"""What the FFC heads of every framework on mmengine share."""

from typing import TYPE_CHECKING, Any

from ...method.layers import FFCConv2d, FFCLinear

if TYPE_CHECKING:
    from mmengine.model import BaseModule as _Module  # what the mixin stands before
else:
    _Module = object


class FFCHead(_Module):
    """Stands before a framework's head in the bases of an ``FFC*Head``; ``ffc_layer`` is its classifier."""

    @property
    def ffc_layer(self) -> FFCLinear | FFCConv2d:
        """The head's FFC classifier."""
        raise NotImplementedError

    @property
    def test_reduce(self) -> str:
        """That of ``ffc_layer``: 'vote', 'mean' or a single output, 'out1' ... 'outM'. May be set at any time."""
        return self.ffc_layer.test_reduce

    @test_reduce.setter
    def test_reduce(self, name: str) -> None:
        self.ffc_layer.test_reduce = name

    def init_weights(self) -> None:
        """As in the stock head, which starts a seeded model with the same numbers; the filters start at 1 and 0.

        mmengine applies an ``init_cfg`` such as ``Normal`` on the classifier to all of its children; the LayerNorms are
        shielded from it. Those that a checkpoint (``Pretrained``) brings are kept.
        """
        layer = self.ffc_layer
        if not isinstance(layer, FFCConv2d | FFCLinear):  # replaced by hand
            super().init_weights()
            return
        shielded: list[Any] = [module for module in (layer.filters, layer.input_norm) if module is not None]
        if not self.is_init:
            layer.init_weights()
        for module in shielded:
            module.apply = lambda initialize, module=module: module
        try:
            super().init_weights()
        finally:
            for module in shielded:
                del module.apply
