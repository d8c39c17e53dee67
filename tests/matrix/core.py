"""The core alone: the layers train and vote, with and without filters; no framework gets imported."""

import sys

import torch

import ffc_dense
from ffc_dense import FFCConv2d, FFCLinear, vote

for layer, x in ((FFCLinear(8, 5), torch.randn(6, 8)), (FFCConv2d(8, 5), torch.randn(2, 8, 4, 6))):
    layer(x).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in layer.parameters())
    elected, winner = vote(layer.eval().outputs(x), -1 if x.dim() == 2 else -3)
    assert torch.equal(layer(x), elected) and winner.max() < layer.num_outputs

stock = torch.nn.Linear(8, 5)
same = FFCLinear.from_layer(stock, num_filters=0)
x = torch.randn(6, 8)
assert torch.equal(same(x), stock(x))
loaded = [name for name in ("detectron2", "mmseg", "mmengine", "mmcv", "torchvision") if name in sys.modules]
assert not loaded, loaded
print(f"ffc_dense {ffc_dense.__version__}, torch {torch.__version__}")
