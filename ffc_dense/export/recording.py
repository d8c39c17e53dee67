"""Write a recorded model to a file, and run such a file."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

# And what records them.
FORMATS = {"onnx": "torch.onnx.export", "torch_export": "torch.export", "torchscript": "torch.jit.trace"}
OPSETS = range(18, 21)  # of ONNX
OPSET = OPSETS[-1]  # what torch.onnx.export chooses by itself
METADATA = "ffc_dense.json"


@dataclass
class Exportable:
    """A model as a function of one tensor, and how to record it.

    Args:
        module: maps the input to a tuple of tensors.
        reference: the same function as the framework itself computes it; what a file is compared with.
        example: an input to record with.
        checks: inputs of other sizes, to compare a file on.
        inputs, outputs: names.
        dynamic: {name: {dimension: its name}}; every other size is fixed.
        context: function of the format; the context that the model is recorded in.
        traced_onnx: whether ONNX is made from a trace, because the newer exporter (on top of torch.export) has no
            translation for an operator of the model.
        about: what a reader of the file should know, for printing and in the file.
        details: more of it, in the file alone, as JSON: 'classes', and the preprocessing that stays outside.
    """

    module: nn.Module
    reference: Callable[[Tensor], list[Tensor]]
    example: Tensor
    checks: list[Tensor]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    dynamic: dict[str, dict[int, str]]
    context: Callable[[str], AbstractContextManager]
    traced_onnx: bool = False
    about: dict[str, str] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def metadata(self) -> dict[str, str]:
        """``about`` and ``details`` as texts: ONNX's metadata, or the extra file METADATA of the other formats."""
        return self.about | {name: json.dumps(value) for name, value in self.details.items()}


def write(model: Exportable, path: str | Path, form: str, opset: int = OPSET) -> None:
    """Write ``model`` to ``path``.

    Raises:
        ValueError: ``form`` is none of FORMATS.
    """
    if form not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {form!r}")
    with model.context(form):
        if form == "torchscript":
            trace = torch.jit.trace(model.module, (model.example,), check_trace=False)
            trace.save(str(path), _extra_files={METADATA: json.dumps(model.metadata)})
        elif form == "torch_export":
            torch.export.save(_program(model), str(path), extra_files={METADATA: json.dumps(model.metadata)})
        elif model.traced_onnx:
            torch.onnx.export(
                model.module, (model.example,), str(path), dynamo=False, opset_version=opset,
                input_names=list(model.inputs), output_names=list(model.outputs), dynamic_axes=model.dynamic,
            )  # fmt: skip
        else:
            torch.onnx.export(
                model.module, (model.example,), str(path), dynamo=True, opset_version=opset, external_data=False,
                input_names=list(model.inputs), output_names=list(model.outputs), dynamic_shapes=_shapes(model),
                verbose=False,
            )  # fmt: skip
    if form == "onnx":
        _describe(path, model.metadata)


def _describe(path: str | Path, metadata: dict[str, str]) -> None:
    """Write ``metadata`` into an ONNX file."""
    import onnx

    content = onnx.load(str(path))
    onnx.helper.set_model_props(content, metadata)
    onnx.save(content, str(path))


def load(path: str | Path, form: str) -> Callable[[Tensor], list[Tensor]]:
    """The file that :func:`write` wrote, as a function of the input, on CPU."""
    if form == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        return lambda x: [torch.from_numpy(array) for array in session.run(None, {name: x.numpy()})]
    run: Any = torch.export.load(str(path)).module() if form == "torch_export" else torch.jit.load(str(path))

    def call(x: Tensor) -> list[Tensor]:
        with torch.no_grad():
            return list(run(x))

    return call


def _program(model: Exportable) -> torch.export.ExportedProgram:
    return torch.export.export(model.module, (model.example,), dynamic_shapes=_shapes(model), strict=False)


def _shapes(model: Exportable) -> tuple[dict, ...]:
    return tuple(dict.fromkeys(model.dynamic[name], torch.export.Dim.DYNAMIC) for name in model.inputs)
