"""What is counted of a model, by either framework's counter. Shape shorthand: C features in, K classes out."""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from ffc_dense import FFCConv2d, FFCLinear


@dataclass
class Classifier:
    """One classifier of a model: its name, C, K, number of filters, and the shape of the input that it was given.

    ``flops_test`` is what it cost in the model, ``flops_train`` what the mean of outputs costs, which is the forward
    pass of training; for a stock layer they are equal.
    """

    name: str
    features: int
    classes: int
    num_filters: int
    input_shape: list[int]
    flops_test: int
    flops_train: int

    @classmethod
    def of(
        cls,
        name: str,
        layer: nn.Module,
        shape: tuple[int, ...],
        flops_test: int,
        layer_flops: Callable[[nn.Module, torch.Tensor], int],
    ) -> "Classifier":
        """``flops_test`` was counted inside the model; that of training is counted here, on the layer alone."""
        ffc = isinstance(layer, FFCLinear | FFCConv2d)
        classes, features = layer.weight.shape[:2]
        flops_train = flops_test
        if ffc:
            alone = copy.deepcopy(layer)
            alone.test_reduce = "mean"
            flops_train = layer_flops(alone, torch.zeros(shape))
        num_filters = layer.num_filters if ffc else 0
        return cls(name, features, classes, num_filters, list(shape), int(flops_test), int(flops_train))


@dataclass
class Count:
    """Parameters of a whole model and FLOPs (one multiply-add is one) of its forward pass for one image."""

    parameters: int
    flops: int
    classifiers: list[Classifier]

    def __post_init__(self):
        self.parameters, self.flops = int(self.parameters), int(self.flops)

    @property
    def flops_train(self) -> int:
        """The same pass with each classifier's training path in the place of its test path."""
        return self.flops + sum(layer.flops_train - layer.flops_test for layer in self.classifiers)


def record_inputs(layers: dict[str, nn.Module]) -> dict[str, tuple[int, ...]]:
    """A dictionary that will hold the shape of the input of each layer, once the model has run.

    The hooks stay on the layers; a counter's own hooks do not mind.
    """
    shapes = {}

    def hook(name):
        def record(module, inputs):
            shapes[name] = tuple(int(size) for size in inputs[0].shape)

        return record

    for name, layer in layers.items():
        layer.register_forward_pre_hook(hook(name))
    return shapes
