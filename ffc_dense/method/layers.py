"""FFC classifiers in the place of ``nn.Linear`` and 1x1 ``nn.Conv2d``. Shape shorthand as in ``filtering.py``."""

import torch
from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear
from torch.nn.parameter import is_lazy
from torch.nn.utils.parametrize import is_parametrized

from .checks import check_bool, check_dtype, check_integer
from .fast.dispatch import fast_mean, fast_stage_logits
from .filtering import FeatureFilter, InputNorm, interpolate_outputs, mean_feature
from .voting import vote

FFC_OPTIONS = ("num_filters", "interpolate", "test_reduce", "eps", "normalize_input")
FFC_MODULES = ("filters", "input_norm")  # what the stock layer does not have


class _FFCClassifier:
    """What FFCLinear and FFCConv2d share; stands before ``nn.Linear`` / ``nn.Conv2d`` in their bases."""

    _stock: type[nn.Module]  # the layer that this one extends
    _feature_dim: int  # of the input, counted from the end
    filters: FeatureFilter
    input_norm: InputNorm | None
    interpolate: bool

    @property
    def test_reduce(self) -> str:
        """How the outputs become one at test time: one of ``test_reductions``. May be set at any time."""
        return self._test_reduce

    @test_reduce.setter
    def test_reduce(self, name: str) -> None:
        if name not in self.test_reductions:
            raise ValueError(f"test_reduce must be one of {', '.join(map(repr, self.test_reductions))}, got {name!r}")
        self._test_reduce = name

    @property
    def test_reductions(self) -> tuple[str, ...]:
        """What ``test_reduce`` may be: 'vote', 'mean', and 'out1' ... 'outM', a single output (paper Table 1)."""
        return "vote", "mean", *(f"out{i + 1}" for i in range(self.num_outputs))

    @property
    def num_filters(self) -> int:
        """n, the length of the filter chain."""
        return len(self.filters)

    @property
    def num_outputs(self) -> int:
        """M: 2n + 1 with interpolation, n + 1 without."""
        return 2 * self.num_filters + 1 if self.interpolate else self.num_filters + 1

    def forward(self, x: Tensor) -> Tensor:
        """Features (..., C) or (..., C, H, W) -> logits with K in the place of C, of the dtype of the stock layer's."""
        if not self.filters:
            return super().forward(x if self.input_norm is None else self._input(x))
        if self.training or self.test_reduce == "mean":
            return self._mean(x)
        outputs = self.outputs(x)
        if self.test_reduce == "vote":
            return vote(outputs, self._feature_dim)[0]
        return outputs[int(self.test_reduce.removeprefix("out")) - 1]

    def stages(self, x: Tensor) -> list[Tensor]:
        """The feature's stages [F_0, ..., F_n], each shaped like ``x``; see :class:`ffc_dense.FeatureFilter`."""
        return self.filters(self._input(x), self._feature_dim)

    def _input(self, x: Tensor) -> Tensor:
        """F_0 in the dtype of ``x``: ``x`` itself, or with ``normalize_input`` its normalised version."""
        self._check_input(x)
        return x if self.input_norm is None else self.input_norm(x, self._feature_dim)

    def _mean(self, x: Tensor) -> Tensor:
        x = self._input(x)
        mean = fast_mean(x, self.weight, self.bias, self.filters, self.interpolate, self._feature_dim)
        if mean is not None:
            return mean
        return super().forward(mean_feature(self.filters(x, self._feature_dim), self.interpolate).to(x.dtype))

    def outputs(self, x: Tensor) -> Tensor:
        """The logits of every output in the paper's order Out1 ... OutM: (M, ..., K) or (M, ..., K, H, W)."""
        # Without normalize_input F_0 is the input itself: Out1 must be the stock layer's result, so x is not converted.
        x = self._input(x)
        outputs = [super().forward(x)]
        later = fast_stage_logits(x, self.weight, self.bias, self.filters, self._feature_dim)
        if later is None:
            stages = self.filters(x, self._feature_dim)[1:]
            later = [super(_FFCClassifier, self).forward(stage.to(x.dtype)) for stage in stages]
        outputs += later
        return torch.stack(interpolate_outputs(outputs) if self.interpolate else outputs)

    def _check_input(self, x: Tensor) -> None:
        """Raise a TypeError or ValueError for an input that the filters or the classifier cannot take."""
        self.filters.check_input(x, self._feature_dim)
        if self.input_norm is not None and x.device != self.input_norm.weight.device:
            raise ValueError(
                f"the FFC input is on {x.device}, its LayerNorm is on {self.input_norm.weight.device}: move one"
            )
        weight = self._parameters.get("weight")  # not self.weight: that may be computed from others at every look
        if type(weight) is nn.Parameter and weight.dtype != x.dtype and not _autocast_unites(x, weight):
            raise TypeError(
                f"the FFC input is {x.dtype}, the layer's weight is {weight.dtype}: convert one, or use torch.autocast "
                "(which leaves float64 alone)"
            )

    def init_weights(self) -> None:
        """Restore every LayerNorm to weight 1 and bias 0.

        mmengine calls this on the layers of a model after it applied an ``init_cfg`` override such as ``Normal`` to
        the classifier *and all of its children*, and before it loads a ``Pretrained`` checkpoint.
        """
        self.filters.reset_parameters()
        if self.input_norm is not None:
            self.input_norm.reset_parameters()

    def __prepare_scriptable__(self):
        # torch.jit.script asks every module for this; its own message would name an annotation.
        raise TypeError(
            f"torch.jit.script cannot compile {type(self).__name__} (and is deprecated): use torch.jit.trace, "
            "torch.export or tools/export_model.py"
        )

    def extra_repr(self) -> str:
        return (
            f"{super().extra_repr()}, num_filters={self.num_filters}, interpolate={self.interpolate}, "
            f"test_reduce={self.test_reduce!r}"
        ) + (", normalize_input=True" if self.input_norm is not None else "")

    def _add_filters(self, num_features, num_filters, interpolate, test_reduce, eps, normalize_input, device, dtype):
        check_bool("interpolate", interpolate)
        check_bool("normalize_input", normalize_input)
        self.interpolate = interpolate
        self.filters = FeatureFilter(num_features, num_filters, eps, device=device, dtype=dtype)
        self.input_norm = InputNorm(num_features, eps, device=device, dtype=dtype) if normalize_input else None
        self.test_reduce = test_reduce

    @classmethod
    def _from_stock(cls, layer: nn.Module, num_features: int, num_outputs: int, options: dict):
        """``cls`` with the very parameters of ``layer``. Draws no random number: a seeded model stays as it was."""
        unknown = [repr(name) for name in options if name not in FFC_OPTIONS]
        if unknown:
            raise TypeError(f"{cls.__name__}: unknown option {', '.join(unknown)}; there are {', '.join(FFC_OPTIONS)}")
        reason = why_not_convertible(layer, cls._stock)
        if reason:
            raise TypeError(f"{cls.__name__}.from_layer: {reason}")
        ffc = cls(num_features, num_outputs, layer.bias is not None, device="meta", **options)
        like = dict(device=layer.weight.device, dtype=layer.weight.dtype)
        eps = {"eps": options["eps"]} if "eps" in options else {}
        ffc.filters = FeatureFilter(num_features, ffc.num_filters, **eps, **like)
        if ffc.input_norm is not None:
            ffc.input_norm = InputNorm(num_features, **eps, **like)
        ffc.weight, ffc.bias = layer.weight, layer.bias
        return ffc.train(layer.training)


class FFCLinear(_FFCClassifier, nn.Linear):
    """Sequential Feature Filtering Classifier over the last dimension.

    Identical to ``nn.Linear``, except that n filters (LayerNorm + ReLU, 2C parameters each) make n + 1 versions of the
    feature, the one classifier maps each, and the outputs are averaged in training and voted in testing. With
    ``num_filters=0`` it is ``nn.Linear`` to the bit. State-dict keys: those of ``nn.Linear`` plus
    ``filters.{i}.weight`` and ``filters.{i}.bias``, and with ``normalize_input`` ``input_norm.weight`` and
    ``input_norm.bias``.

    Args:
        in_features: C.
        out_features: K.
        bias: whether the classifier has a bias.
        num_filters: n, length of the chain, 0 to 100; 3 in the paper.
        interpolate: also classify the average of each two neighbouring stages (the paper's Out2, Out4, Out6).
            False: the n + 1 outputs of the authors' released code.
        test_reduce: 'vote' (the paper, :func:`ffc_dense.vote`), 'mean' of logits (the authors' released code), or a
            single output, 'out1' ... 'outM' (rows of the paper's Table 1).
        eps: of every LayerNorm, at least 1e-5.
        normalize_input: an affine LayerNorm of its own comes first, so that F_0 is LN(x). Not in the paper;
            docs/EVIDENCE.md compares. With ``num_filters=0`` it is a LayerNorm before ``nn.Linear``, the control.

    Raises:
        ValueError: an option is out of its range; the message lists what is valid.
        TypeError: ``dtype`` is not floating point.
    """

    _stock = nn.Linear
    _feature_dim = -1

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        num_filters: int = 3,
        interpolate: bool = True,
        test_reduce: str = "vote",
        eps: float = 1e-5,
        normalize_input: bool = False,
        device=None,
        dtype=None,
    ):
        _check_sizes(in_features=in_features, out_features=out_features, bias=bias, dtype=dtype)
        nn.Linear.__init__(self, in_features, out_features, bias, device=device, dtype=dtype)
        self._add_filters(in_features, num_filters, interpolate, test_reduce, eps, normalize_input, device, dtype)

    @classmethod
    def from_layer(cls, linear: nn.Linear, **ffc_options) -> "FFCLinear":
        """An FFCLinear that takes over the parameters, device, dtype and mode of ``linear``.

        Raises:
            TypeError: ``linear`` is not a plain ``nn.Linear``, so its parameters alone would not say what it computes.
        """
        if isinstance(linear, nn.Linear):
            return cls._from_stock(linear, linear.in_features, linear.out_features, ffc_options)
        raise TypeError(f"{cls.__name__}.from_layer expects an nn.Linear, got {type(linear).__name__}")


class FFCConv2d(_FFCClassifier, nn.Conv2d):
    """Sequential Feature Filtering Classifier for every position of an NCHW map.

    Identical to a 1x1 ``nn.Conv2d`` with stride 1, except for the filters described at :class:`FFCLinear`; LayerNorm
    runs over the channels of each position.

    Args:
        in_channels: C.
        out_channels: K.
        bias, num_filters, interpolate, test_reduce, eps, normalize_input: as in :class:`FFCLinear`.
    """

    _stock = nn.Conv2d
    _feature_dim = -3

    def _check_input(self, x: Tensor) -> None:
        super()._check_input(x)
        if x.dim() not in (3, 4) or 0 in x.shape[-2:]:
            shapes = f"(N, {self.in_channels}, H, W) or ({self.in_channels}, H, W)"
            raise ValueError(f"FFCConv2d expects {shapes} with H, W >= 1, got input of shape {tuple(x.shape)}")

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        bias: bool = True,
        *,
        num_filters: int = 3,
        interpolate: bool = True,
        test_reduce: str = "vote",
        eps: float = 1e-5,
        normalize_input: bool = False,
        device=None,
        dtype=None,
    ):
        _check_sizes(in_channels=in_channels, out_channels=out_channels, bias=bias, dtype=dtype)
        nn.Conv2d.__init__(self, in_channels, out_channels, kernel_size=1, bias=bias, device=device, dtype=dtype)
        self._add_filters(in_channels, num_filters, interpolate, test_reduce, eps, normalize_input, device, dtype)

    @classmethod
    def from_layer(cls, conv: nn.Conv2d, **ffc_options) -> "FFCConv2d":
        """An FFCConv2d that takes over the parameters, device, dtype and mode of a 1x1 ``conv``.

        Raises:
            TypeError: ``conv`` is not a plain 1x1 ``nn.Conv2d`` of stride 1, without padding and groups.
        """
        if isinstance(conv, nn.Conv2d):
            return cls._from_stock(conv, conv.in_channels, conv.out_channels, ffc_options)
        raise TypeError(f"{cls.__name__}.from_layer expects an nn.Conv2d, got {type(conv).__name__}")


def why_not_convertible(layer: nn.Module, stock: type[nn.Module]) -> str:
    """Why ``layer`` cannot become the FFC version of ``stock``; '' if it can."""
    name = type(layer).__name__
    if isinstance(layer, _FFCClassifier):
        return f"the layer is an {name} already"
    if type(layer).forward is not stock.forward or "forward" in vars(layer):
        return f"this {name} computes something else than {stock.__name__}"
    if isinstance(layer, NonDynamicallyQuantizableLinear):
        return "nn.MultiheadAttention reads the weight of its out_proj and never calls it"
    if is_parametrized(layer) or layer._parameters.get("weight") is None or "bias" not in layer._parameters:
        return f"the {name} does not hold weight and bias as plain parameters (parametrized, pruned or quantized)"
    if is_lazy(layer.weight):
        return f"the {name} has no shape yet; run the model once first"
    if layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks or layer._backward_pre_hooks:
        return f"the {name} has hooks, which would be lost; register them on the new layer"
    if stock is nn.Conv2d:
        plain = dict(kernel_size=(1, 1), stride=(1, 1), padding=(0, 0), groups=1)
        other = [f"{key}={getattr(layer, key)}" for key, value in plain.items() if getattr(layer, key) != value]
        if other:
            return f"a 1x1 convolution without stride, padding and groups is needed; this one has {', '.join(other)}"
    return ""


def _check_sizes(*, bias: bool, dtype: torch.dtype | None, **sizes: int) -> None:
    for name, value in sizes.items():
        check_integer(name, value, 1)
    check_bool("bias", bias)
    check_dtype("dtype", dtype)


def _autocast_unites(x: Tensor, weight: Tensor) -> bool:
    """Whether torch.autocast brings both to one dtype; where that cannot be asked, the stock layer will say."""
    if torch.compiler.is_compiling() or not hasattr(torch, "get_autocast_dtype"):  # before 2.4
        return True
    return torch.is_autocast_enabled(x.device.type) and torch.float64 not in (x.dtype, weight.dtype)
