"""An mmseg segmentor as one function of tensors, for torch.export, ONNX and tracing.

Shape shorthand: N images, K classes, (H, W) the images' size.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy

import torch
from mmseg.models.segmentors import EncoderDecoder
from mmseg.models.utils.wrappers import resize
from torch import Tensor, nn

from ...export.pooling import exportable_pools
from ..model.opinions import last_head

INPUTS, OUTPUTS = ("image",), ("scores", "labels")


class ExportableSegmentor(nn.Module):
    """A copy of a segmentor in eval mode that maps normalised images to scores and labels of their size.

    ``data_preprocessor`` (RGB order, mean, standard deviation, padding) and the resizing to the original image's size
    stay outside, as in mmdeploy. The scores are what ``encode_decode`` gives: with ``test_reduce='vote'`` the winners'
    log-probabilities (``vote_at`` as in the model), else logits.

    Args:
        model: an ``EncoderDecoder`` or a subclass of it, tested in 'whole' mode.

    Raises:
        TypeError: ``model`` is no ``EncoderDecoder``.
        ValueError: it is tested in windows ('slide'), which one graph for any size cannot cut.
    """

    def __init__(self, model: EncoderDecoder):
        super().__init__()
        if not isinstance(model, EncoderDecoder):
            raise TypeError(f"expected an mmseg EncoderDecoder, got {type(model).__name__}")
        mode = model.test_cfg.get("mode", "whole")
        if mode != "whole":
            raise ValueError(
                f"model.test_cfg.mode is {mode!r}: a graph holds one forward pass, not the loop over windows. Export "
                "with --cfg-options model.test_cfg.mode=whole and cut the windows outside"
            )
        self.model = exportable_pools(deepcopy(model))
        self.eval()

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, H, W) normalised -> scores (N, K, H, W) and labels (N, 1, H, W) int64."""
        size = tuple(image.shape[2:])
        scores = self.model.encode_decode(image, [dict(ori_shape=size, img_shape=size, pad_shape=size)])
        return scores, self.labels(scores)

    def labels(self, scores: Tensor) -> Tensor:
        """(N, K, H, W) -> (N, 1, H, W) int64, as mmseg's ``postprocess_result`` decides."""
        if scores.shape[1] == 1:
            return (scores.sigmoid() > last_head(self.model).threshold).long()
        return scores.argmax(1, keepdim=True)


@contextmanager
def exporting() -> Iterator[None]:
    """Within the context mmseg's ``resize`` does not look at sizes to warn of them, which would fix them in a graph."""
    before = resize.__defaults__
    resize.__defaults__ = (*before[:-1], False)  # the last argument is `warning`
    try:
        with torch.no_grad():
            yield
    finally:
        resize.__defaults__ = before
