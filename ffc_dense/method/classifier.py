"""What the FFC layers share: the chain, the shared classifier, the mean in training and the vote in testing.

Shape shorthand as in ``filtering.py``.
"""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.fx import Proxy

from . import options as ffc_options
from .adapters import refuse_adapters
from .fast.dispatch import fast_mean, fast_stage_logits
from .filtering import FeatureFilter, InputNorm, interpolate_outputs, mean_feature
from .plain import why_not_plain
from .voting import reduce_outputs

FFC_MODULES = ("filters", "input_norm")  # what the stock layer does not have

if TYPE_CHECKING:
    _Layer = nn.Module  # the mixin stands before nn.Linear or nn.Conv2d
else:
    _Layer = object


class FFCClassifier(_Layer):
    """What FFCLinear and FFCConv2d share; stands before ``nn.Linear`` / ``nn.Conv2d`` in their bases.

    For a method of your own, override :meth:`make_filters` (other stages: see :class:`FeatureFilter`) or
    :meth:`stage_logits` (other logits of a stage); everything else follows, and the fast forms step aside.
    """

    _stock: type[nn.Module]  # the layer that this one extends
    _feature_dim: int  # of the input, counted from the end
    weight: Tensor
    bias: Any
    filters: FeatureFilter
    input_norm: InputNorm | None
    interpolate: bool

    @property
    def test_reduce(self) -> str:
        """How the outputs become one at test time: one of ``test_reductions``. May be set at any time."""
        return self._test_reduce

    @test_reduce.setter
    def test_reduce(self, name: str) -> None:
        ffc_options.check_reduction("test_reduce", name, self.num_outputs)
        self._test_reduce = name

    @property
    def test_reductions(self) -> tuple[str, ...]:
        """What ``test_reduce`` may be: 'vote', 'mean', and 'out1' ... 'outM', a single output (paper Table 1)."""
        return ffc_options.valid_reductions(self.num_outputs)

    @property
    def num_filters(self) -> int:
        """n, the length of the filter chain."""
        return self.filters.num_filters

    @property
    def num_outputs(self) -> int:
        """M: 2n + 1 with interpolation, n + 1 without."""
        return ffc_options.num_outputs(self.filters.num_stages, self.interpolate)

    @property
    def is_stock(self) -> bool:
        """Whether the layer is its stock layer to the bit: no filters and no ``normalize_input``."""
        return self.filters.is_identity and self.input_norm is None

    # Not a named argument: the trace exporter of ONNX makes an input of the network of every one that has a default.
    def forward(self, input: Tensor, **asked: Any) -> Tensor:
        """Features (..., C) or (..., C, H, W) -> logits with K in the place of C, of the dtype of the stock layer's.

        Args:
            input: the features, under the name that the stock layers give them.
            asked: ``every_output=True`` is how :meth:`outputs` asks for them, so that the layer's hooks run.
        """
        if isinstance(input, Proxy):
            return self._traced(input, asked)
        if asked and asked != {"every_output": True}:
            raise TypeError(f"{type(self).__name__}.forward takes the features alone, got {', '.join(asked)} too")
        if asked:
            return self._outputs(input)
        if self.filters.is_identity:
            return super().forward(input if self.input_norm is None else self._input(input))
        if self.training or self.test_reduce == "mean":
            return self._mean(input)
        return self.reduce(self._outputs(input))

    def outputs(self, x: Tensor) -> Tensor:
        """The logits of every output in the paper's order Out1 ... OutM: (M, ..., K) or (M, ..., K, H, W)."""
        found = self(x, every_output=True)  # a call: hooks may make the weight (pruning, weight_norm, FSDP)
        if isinstance(x, Tensor) and found.dim() != x.dim() + 1:
            raise RuntimeError(
                f"{type(self).__name__}.outputs: a hook of the layer drops keyword arguments or changes the result's "
                f"shape: got {tuple(found.shape)}, expected ({self.num_outputs}, ...); let it pass every_output on"
            )
        return found

    def reduce(self, outputs: Tensor) -> Tensor:
        """What ``test_reduce`` makes of the logits of every output: (M, ..., K) -> (..., K), or with maps behind K."""
        return reduce_outputs(outputs, self.test_reduce, self._feature_dim)

    def stages(self, x: Tensor) -> list[Tensor]:
        """The feature's stages [F_0, ..., F_n], each shaped like ``x``; see :class:`ffc_dense.FeatureFilter`."""
        return self.filters(self._input(x), self._feature_dim)

    def stage_logits(self, x: Tensor) -> list[Tensor]:
        """The classifier's logits for each stage of ``x``."""
        # Without normalize_input F_0 is the input itself: Out1 must be the stock layer's result, so x is not converted.
        x = self._input(x)
        later = fast_stage_logits(x, self.weight, self.bias, self.filters, self._feature_dim)
        if later is not None:
            return [super().forward(x), *later]
        stages = self.filters(x, self._feature_dim)
        return [super(FFCClassifier, self).forward(stage.to(x.dtype)) for stage in stages]

    def make_filters(self, num_features: int, num_filters: int, eps: float, **like: Any) -> FeatureFilter:
        """The module that makes the stages. ``like``: device and dtype."""
        return FeatureFilter(num_features, num_filters, eps, **like)

    def _traced(self, x: Proxy, asked: dict[str, Any]) -> Any:
        """One node of a torch.fx graph, as for a stock layer: a node calls the layer as it is when the graph runs."""
        place = x.tracer.path_of_module(self)  # type: ignore[attr-defined]
        if not place:
            raise TypeError(f"torch.fx cannot trace an {type(self).__name__} alone: trace the model that holds it")
        return x.tracer.create_proxy("call_module", place, (x,), asked)

    def _outputs(self, x: Tensor) -> Tensor:
        logits = self.stage_logits(x)
        return torch.stack(interpolate_outputs(logits) if self.interpolate else logits)

    def _input(self, x: Tensor) -> Tensor:
        """F_0 in the dtype of ``x``: ``x`` itself, or with ``normalize_input`` its normalised version."""
        self._check_input(x)
        return x if self.input_norm is None else self.input_norm(x, self._feature_dim)

    def _mean(self, x: Tensor) -> Tensor:
        if type(self).stage_logits is not FFCClassifier.stage_logits:
            return self._outputs(x).mean(0)
        x = self._input(x)
        mean = fast_mean(x, self.weight, self.bias, self.filters, self.interpolate, self._feature_dim)
        if mean is not None:
            return mean
        # Mean and classifier are linear: one product with the mean of the features in the place of M.
        return super().forward(mean_feature(self.filters(x, self._feature_dim), self.interpolate).to(x.dtype))

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

    def _add_filters(self, num_features: int, given: dict[str, Any], **like: Any) -> None:
        """Resolve the options and build the filters. ``like``: device and dtype."""
        options = ffc_options.resolve(given, type(self).__name__)
        self.interpolate = options["interpolate"]
        self._build(num_features, options, **like)
        self.test_reduce = options["test_reduce"]

    def _build(self, num_features: int, options: dict[str, Any], **like: Any) -> None:
        num_filters, eps = options["num_filters"], options["eps"]
        self.filters = self.make_filters(num_features, num_filters, eps, **like)
        self.input_norm = InputNorm(num_features, eps, **like) if options["normalize_input"] else None

    @classmethod
    def why_not(cls, layer: nn.Module) -> str:
        """Why :meth:`from_layer` cannot convert ``layer``; '' if it can."""
        if isinstance(layer, FFCClassifier):
            return f"the layer is an {type(layer).__name__} already"
        return why_not_plain(layer, cls._stock)

    @classmethod
    def _from_stock(cls, layer: Any, num_features: int, num_outputs: int, given: dict[str, Any]):
        """``cls`` with the very parameters of ``layer``. Draws no random number: a seeded model stays as it was."""
        options = ffc_options.resolve(given, cls.__name__)
        reason = cls.why_not(layer)
        if reason:
            raise TypeError(f"{cls.__name__}.from_layer: {reason}")
        ffc = cls(num_features, num_outputs, bias=layer.bias is not None, device="meta", **options)
        ffc._build(num_features, options, device=layer.weight.device, dtype=layer.weight.dtype)
        ffc.weight, ffc.bias = layer.weight, layer.bias
        return ffc.train(layer.training)


refuse_adapters(FFCClassifier)


def _autocast_unites(x: Tensor, weight: Tensor) -> bool:
    """Whether torch.autocast brings both to one dtype; where that cannot be asked, the stock layer will say."""
    if torch.compiler.is_compiling() or not hasattr(torch, "get_autocast_dtype"):  # before 2.4
        return True
    return torch.is_autocast_enabled(x.device.type) and torch.float64 not in (x.dtype, weight.dtype)
