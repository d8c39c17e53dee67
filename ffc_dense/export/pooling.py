"""Adaptive average pooling whose graph holds for every image size."""

import torch
from torch import Tensor, nn


class ExportableAdaptiveAvgPool2d(nn.Module):
    """Identical to :class:`nn.AdaptiveAvgPool2d` to fp32 rounding, as two matrix products.

    torch.export fixes the size of the stock layer's input, and ONNX has no operator for it. Bin i of p averages the
    positions floor(i * size / p) to ceil((i + 1) * size / p) - 1, as torch documents.

    Args:
        output_size: (rows, columns) of the result.
    """

    def __init__(self, output_size: tuple[int, int]):
        super().__init__()
        self.output_size = output_size

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C, rows, columns)."""
        rows, columns = (self._averages(self.output_size[i], x.shape[i + 2], x) for i in range(2))
        return rows @ (x @ columns.mT)

    @staticmethod
    def _averages(bins: int, size: int, like: Tensor) -> Tensor:
        """(bins, size): what each position contributes to each bin."""
        place = torch.arange(size, device=like.device)
        number = torch.arange(bins, device=like.device).unsqueeze(1)
        first = torch.div(number * size, bins, rounding_mode="floor")
        beyond = torch.div((number + 1) * size + bins - 1, bins, rounding_mode="floor")
        inside = ((place >= first) & (place < beyond)).to(like.dtype)
        return inside / inside.sum(1, keepdim=True)


def exportable_pools(model: nn.Module) -> nn.Module:
    """Replace, in place, every ``nn.AdaptiveAvgPool2d`` to more than one bin; one bin is a plain mean."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.AdaptiveAvgPool2d):
                size = child.output_size
                size = size if isinstance(size, tuple | list) else (size, size)
                if tuple(size) != (1, 1) and None not in size:
                    setattr(module, name, ExportableAdaptiveAvgPool2d(tuple(size)))
    return model
