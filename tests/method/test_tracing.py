"""FFC layers in what reads a model as a graph: torch.fx, torchvision's feature extractor, old ONNX, quantization."""

import io
import warnings

import pytest
import torch
from torch import nn

from ffc_dense import FFCConv2d, FFCLinear, attach

LAYERS = [(lambda: FFCLinear(8, 5), (6, 8)), (lambda: FFCConv2d(8, 5), (2, 8, 3, 4)), (lambda: FFCLinear(8, 1), (6, 8)),
          (lambda: FFCConv2d(8, 5, normalize_input=True), (2, 8, 3, 4))]  # fmt: skip


class Third(nn.Module):
    """A head that asks for several outputs."""

    def __init__(self):
        super().__init__()
        self.fc = FFCLinear(8, 5)

    def forward(self, x):
        return self.fc.outputs(x)[2] + self.fc(x)


@pytest.mark.parametrize(("layer", "shape"), LAYERS)
def test_fx_keeps_the_layer_whole(scramble, layer, shape):
    model, x = nn.Sequential(nn.ReLU(), scramble(layer())).eval(), torch.randn(shape)
    traced = torch.fx.symbolic_trace(model)
    assert torch.equal(traced(x), model(x))
    for reduce in ("mean", "out1"):
        model[1].test_reduce = reduce
        assert torch.equal(traced(x), model(x))  # the graph calls the layer, not a record of what it did
    assert torch.equal(traced.train()(x), model.train()(x))


def test_fx_keeps_a_question_for_every_output(scramble):
    model, x = scramble(Third()).eval(), torch.randn(6, 8)
    assert torch.equal(torch.fx.symbolic_trace(model)(x), model(x))


def test_fx_of_the_layer_alone_says_what_to_trace():
    with pytest.raises(TypeError, match="trace the model that holds it"):
        torch.fx.symbolic_trace(FFCLinear(8, 5))


def test_the_forward_takes_no_other_argument():
    with pytest.raises(TypeError, match=r"features alone, got output_size"):
        FFCLinear(8, 5)(torch.zeros(2, 8), output_size=3)


def test_torchvision_extracts_features_of_the_backbone_and_of_the_classifier():
    torchvision = pytest.importorskip("torchvision")
    from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

    model = attach(torchvision.models.resnet18(num_classes=4), "fc").eval()
    x = torch.randn(2, 3, 32, 32)
    assert get_graph_node_names(model)[1][-2:] == ["flatten", "fc"]
    backbone = create_feature_extractor(model, {"layer4": "feature"})(x)
    assert backbone["feature"].shape == (2, 512, 1, 1)
    whole = create_feature_extractor(model, {"layer4": "feature", "fc": "logits"})(x)
    assert torch.equal(whole["logits"], model(x)) and torch.equal(whole["feature"], backbone["feature"])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("opset", [10, 11, 13, 14, 18])
@pytest.mark.parametrize("reduce", ["vote", "mean"])
@pytest.mark.parametrize(("layer", "shape"), LAYERS)
def test_onnxruntime_runs_a_trace_of_any_opset_from_10_on(scramble, layer, shape, reduce, opset):
    onnxruntime = pytest.importorskip("onnxruntime")
    layer, file = scramble(layer()).eval(), io.BytesIO()
    layer.test_reduce = reduce
    torch.onnx.export(
        layer, (torch.randn(shape),), file, dynamo=False, opset_version=opset, input_names=["x"],
        dynamic_axes={"x": {0: "batch"}},
    )  # fmt: skip
    session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    x = torch.randn(9, *shape[1:])
    torch.testing.assert_close(torch.from_numpy(session.run(None, {"x": x.numpy()})[0]), layer(x))


def quantized(classifier_last):
    """A statically quantized network; the classifier gets quantized numbers, or floats and keeps its own."""
    quantization = pytest.importorskip("torch.ao.quantization")
    fc, rest = FFCLinear(8, 5), quantization.DeQuantStub()
    model = nn.Sequential(quantization.QuantStub(), nn.Linear(8, 8), *([rest, fc] if classifier_last else [fc, rest]))
    model.eval().qconfig = quantization.default_qconfig
    if classifier_last:
        fc.qconfig = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated in favour of torchao
        quantization.prepare(model, inplace=True)(torch.randn(6, 8))
        return quantization.convert(model, inplace=True), fc


def test_a_quantized_feature_is_refused_with_what_works():
    model, _ = quantized(classifier_last=False)
    with pytest.raises(TypeError, match=r"quint8.*qconfig to None.*DeQuantStub"):
        model(torch.randn(6, 8))


def test_a_classifier_without_qconfig_stays_as_it_was_in_a_quantized_network(scramble):
    model, fc = quantized(classifier_last=True)
    x = torch.randn(6, 8)
    assert model[3] is fc and all(type(norm) is nn.LayerNorm for norm in fc.filters)
    assert torch.equal(model(x), fc(model[:3](x)))
