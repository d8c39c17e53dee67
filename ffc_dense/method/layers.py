"""FFC classifiers in the place of ``nn.Linear`` and 1x1 ``nn.Conv2d``. Shape shorthand as in ``filtering.py``."""

from typing import Any

import torch
from torch import Tensor, nn

from .checks import check_bool, check_dtype, check_integer
from .classifier import FFCClassifier
from .options import takes_options
from .plain import unlike_pointwise


class FFCLinear(FFCClassifier, nn.Linear):
    """Sequential Feature Filtering Classifier over the last dimension.

    Identical to ``nn.Linear``, its signature included, except that n filters (LayerNorm + ReLU, 2C parameters each)
    make n + 1 versions of the feature, the one classifier maps each, and the outputs are averaged in training and voted
    in testing. With ``num_filters=0`` it is ``nn.Linear`` to the bit. State-dict keys: those of ``nn.Linear`` plus
    ``filters.{i}.weight`` and ``filters.{i}.bias``, and with ``normalize_input`` ``input_norm.weight`` and
    ``input_norm.bias``.

    Args:
        in_features: C.
        out_features: K.
        bias, device, dtype: as in ``nn.Linear``.
        **options: by keyword alone, ``num_filters``, ``interpolate``, ``test_reduce``, ``eps``, ``normalize_input``;
            for defaults and meanings see :data:`ffc_dense.method.options.OPTIONS`.

    Raises:
        ValueError: an option is out of its range; the message lists what is valid.
        TypeError: an option is unknown, or ``dtype`` is not floating point.
    """

    _stock = nn.Linear
    _feature_dim = -1

    @takes_options
    def __init__(self, in_features: int, out_features: int, bias: bool = True, device=None, dtype=None, **options):
        _check_sizes(in_features=in_features, out_features=out_features, bias=bias, dtype=dtype)
        nn.Linear.__init__(self, in_features, out_features, bias=bias, device=device, dtype=dtype)
        self._add_filters(in_features, options, device=device, dtype=dtype)

    @classmethod
    def from_layer(cls, linear: nn.Linear, **options) -> "FFCLinear":
        """An FFCLinear that takes over the parameters, device, dtype and mode of ``linear``.

        Raises:
            TypeError: ``linear`` is not a plain ``nn.Linear``, so its parameters alone would not say what it computes.
        """
        if isinstance(linear, nn.Linear):
            return cls._from_stock(linear, linear.in_features, linear.out_features, options)
        raise TypeError(f"{cls.__name__}.from_layer expects an nn.Linear, got {type(linear).__name__}")


class FFCConv2d(FFCClassifier, nn.Conv2d):
    """Sequential Feature Filtering Classifier for every position of an NCHW map.

    Identical to a 1x1 ``nn.Conv2d`` with stride 1, its signature included, except for the filters described at
    :class:`FFCLinear`; LayerNorm runs over the channels of each position.

    Args:
        in_channels: C.
        out_channels: K.
        kernel_size, stride, padding, groups: those of such a convolution; anything else is a ValueError.
        dilation, padding_mode, bias, device, dtype: as in ``nn.Conv2d``; the first two have no effect.
        **options: as in :class:`FFCLinear`.
    """

    _stock = nn.Conv2d
    _feature_dim = -3

    def _check_input(self, x: Tensor) -> None:
        super()._check_input(x)
        if x.dim() not in (3, 4) or 0 in x.shape[-2:]:
            shapes = f"(N, {self.in_channels}, H, W) or ({self.in_channels}, H, W)"
            raise ValueError(f"FFCConv2d expects {shapes} with H, W >= 1, got input of shape {tuple(x.shape)}")

    @takes_options
    def __init__(
        self, in_channels: int, out_channels: int, kernel_size=1, stride=1, padding=0, dilation=1, groups: int = 1,
        bias: bool = True, padding_mode: Any = "zeros", device=None, dtype=None, **options,
    ):  # fmt: skip
        _check_sizes(in_channels=in_channels, out_channels=out_channels, bias=bias, dtype=dtype)
        given = dict(kernel_size=kernel_size, stride=stride, padding=padding, groups=groups)
        if other := unlike_pointwise(given):
            hint = "; bias is the eighth argument, as in nn.Conv2d: bias=..." if isinstance(kernel_size, bool) else ""
            raise ValueError(
                f"FFCConv2d is a 1x1 convolution without stride, padding and groups, got {', '.join(other)}{hint}"
            )
        nn.Conv2d.__init__(
            self, in_channels, out_channels, **given, dilation=dilation, bias=bias, padding_mode=padding_mode,
            device=device, dtype=dtype,
        )  # fmt: skip
        self._add_filters(in_channels, options, device=device, dtype=dtype)

    @classmethod
    def from_layer(cls, conv: nn.Conv2d, **options) -> "FFCConv2d":
        """An FFCConv2d that takes over the parameters, device, dtype and mode of a 1x1 ``conv``.

        Raises:
            TypeError: ``conv`` is not a plain 1x1 ``nn.Conv2d`` of stride 1, without padding and groups.
        """
        if isinstance(conv, nn.Conv2d):
            return cls._from_stock(conv, conv.in_channels, conv.out_channels, options)
        raise TypeError(f"{cls.__name__}.from_layer expects an nn.Conv2d, got {type(conv).__name__}")


def _check_sizes(*, bias: bool, dtype: torch.dtype | None, **sizes: int) -> None:
    for name, value in sizes.items():
        check_integer(name, value, 1)
    check_bool("bias", bias)
    check_dtype("dtype", dtype)
