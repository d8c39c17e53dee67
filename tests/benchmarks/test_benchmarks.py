"""The benchmarks' own baseline is FFC, their counts are right, and the tool runs and reports every line."""

import json
import os
import subprocess
import sys
import time

import pytest
import torch
from repository import ROOT
from torch import nn

import ffc_dense
from benchmarks import __main__ as command_line
from benchmarks import detection, layers, report, segmentation, segmentation_vote
from benchmarks.memory import kept_for_backward
from benchmarks.timing import interleave
from benchmarks.works import FFC, LITERAL, PLAIN, Result, Work
from ffc_dense import FFCConv2d, FFCLinear, vote
from ffc_dense.method.literal import LiteralFFC, literal_segmentation, literal_vote

LAYERS = [
    pytest.param(lambda n: FFCLinear(12, 5, num_filters=n), (7, 12), id="linear"),
    pytest.param(lambda n: FFCLinear(12, 5, num_filters=n, interpolate=False, eps=0.1), (7, 12), id="not interpolated"),
    pytest.param(lambda n: FFCConv2d(12, 5, num_filters=n), (2, 12, 3, 4), id="conv"),
    pytest.param(lambda n: FFCConv2d(12, 5, bias=False, num_filters=n), (0, 12, 3, 4), id="empty-without-bias"),
]


@pytest.mark.parametrize("num_filters", [0, 1, 3])
@pytest.mark.parametrize(("make", "shape"), LAYERS)
def test_the_naive_implementation_equals_the_layer_in_training_with_all_gradients(make, shape, num_filters, scramble):
    layer = scramble(make(num_filters))
    literal = LiteralFFC(layer)
    x = torch.randn(shape, requires_grad=True)
    gradient = torch.randn_like(layer(x))
    results = []
    for module in (layer, literal):
        x.grad = None
        logits = module(x)
        logits.backward(gradient)
        results.append([logits.detach(), x.grad, *(parameter.grad for parameter in module.parameters())])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("make", "shape"), LAYERS)
def test_the_naive_implementation_equals_the_layer_at_test_time(make, shape, scramble):
    layer = scramble(make(3)).double().eval()
    x = torch.randn(shape, dtype=torch.float64)
    torch.testing.assert_close(LiteralFFC(layer).outputs(x), layer.outputs(x))
    torch.testing.assert_close(LiteralFFC(layer)(x), layer(x))


@pytest.mark.parametrize("shape", [(7, 50, 6), (1, 5, 3), (7, 2, 4, 5, 6), (7, 0, 3)])
def test_the_naive_vote_equals_the_vote(shape):
    outputs = torch.randn(shape, dtype=torch.float64)
    assert torch.equal(literal_vote(outputs), vote(outputs, 2 - len(shape))[0])


def test_the_naive_vote_equals_the_vote_where_outputs_tie():
    outputs = torch.randint(3, (7, 500, 3)).double()  # equal logits within an output, equal confidences between them
    assert torch.equal(literal_vote(outputs), vote(outputs, -1)[0])


def test_every_candidate_of_the_image_vote_labels_the_image():
    pytest.importorskip("mmseg")
    image, feature = (33, 65), (5, 9)
    names = (FFC, LITERAL, segmentation_vote.RESIZE)
    ffc, literal, _ = maps = [segmentation_vote.candidate(name, image, feature, "cpu")() for name in names]
    assert all(labels.shape == (1, *image) and labels.dtype == torch.int64 for labels in maps)
    # The same function: only the rounding of the interpolation may decide a pixel otherwise.
    assert (ffc != literal).float().mean() < 1e-3


def test_the_naive_vote_at_image_size_resizes_before_it_votes():
    outputs = torch.randn(7, 2, 4, 5, 6)
    labels = literal_segmentation(outputs, (9, 11), align_corners=True)
    resized = torch.stack([nn.functional.interpolate(o, (9, 11), mode="bilinear", align_corners=True) for o in outputs])
    assert torch.equal(labels, vote(resized, -3)[0].argmax(1))


def test_memory_kept_for_backward_counts_each_storage_once():
    x = torch.randn(10, 8, requires_grad=True)
    linear = nn.Linear(8, 4)
    assert kept_for_backward(lambda: linear(x)) == 4 * (10 * 8 + 4 * 8)  # input and weight
    assert kept_for_backward(lambda: linear(x) + linear(x)) == 4 * (10 * 8 + 4 * 8)
    assert kept_for_backward(lambda: x[:5] * x[5:]) == 4 * 10 * 8
    assert kept_for_backward(lambda: x.exp() * x) == 4 * 2 * 10 * 8
    assert kept_for_backward(lambda: x.detach() + 1) == 0


def test_layers_to_compare_have_the_same_parameters_and_result():
    modules = layers.layers((6, 8), 3, torch.float32, "cpu")
    plain, literal, ffc = (modules[name] for name in (PLAIN, LITERAL, FFC))
    assert ffc.weight is plain.weight and torch.equal(literal.weight, plain.weight)
    x = torch.randn(6, 8)
    torch.testing.assert_close(literal(x), ffc(x))


def test_candidates_take_turns_and_reverse_them_every_other_round():
    calls = []
    slow = 0.006  # seconds: longer than a sample must be, so that one call makes one sample

    def candidate(name):
        def call():
            calls.append(name)
            time.sleep(slow)

        return call

    samples = interleave({name: candidate(name) for name in "ab"}, "cpu", seconds=0, rounds=3)
    assert calls[4:] == ["a", "b", "b", "a", "a", "b"]  # after two calls each to warm up
    assert all(len(found) == 3 and min(found) >= slow for found in samples.values())


def result(samples, **options):
    work = Work("layers", "some work", "cpu", "time", {PLAIN: 1.5}, measure=dict, **options)
    return Result(work, samples)


def test_a_ratio_is_that_of_medians_and_its_spread_that_of_rounds():
    measured = result({FFC: [2.0, 4.0, 90.0], PLAIN: [1.0, 2.0, 30.0]})
    assert measured.ratio(PLAIN) == 2.0
    assert measured.spread(PLAIN) == (2.0, 2.5)


def test_a_work_runs_under_its_own_backend_and_gives_the_old_one_back(monkeypatch):
    chosen = ["auto"]
    monkeypatch.setattr(ffc_dense, "get_backend", lambda: chosen[-1], raising=False)
    monkeypatch.setattr(ffc_dense, "set_backend", chosen.append, raising=False)

    def measure():
        assert chosen[-1] == "triton"
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        Work("layers", "some work", "cuda", "time", {}, measure, backend="triton").run()
    assert chosen == ["auto", "triton", "auto"]


@pytest.mark.parametrize(
    ("seconds", "quick", "verdict"),
    [(0.0015, False, "yes"), (0.003, False, "no, 2.00x the target"), (0.003, True, "not judged: quick sizes")],
)
def test_the_table_says_whether_the_target_is_met(seconds, quick, verdict):
    row = report.table([result({FFC: [seconds], PLAIN: [0.001]})], quick).splitlines()[-1]
    assert row.startswith(f"| some work | {1000 * seconds:.2f} ms | plain layer, 1.00 ms | {1000 * seconds:.2f} |")
    assert row.endswith(f"| at most 1.50 | {verdict} |")


def test_docs_are_updated_between_the_markers_and_keep_a_measurement(tmp_path):
    docs = tmp_path / "performance.md"
    blocks = [f"{report.marker(device, 'begin')}\n{report.marker(device, 'end')}" for device in report.MARKED]
    docs.write_text("before\n\n" + "\n\nbetween\n\n".join(blocks) + "\n\nafter\n")
    report.check_markers(docs)
    measured = report.section("cpu", [], "some processor", "Command.", False)
    unmeasured = report.section("cuda", [], "", "Command.", False)
    report.write_docs(docs, {"cpu": measured, "cuda": unmeasured})
    first = docs.read_text()
    assert measured in first and unmeasured in first
    assert first.startswith("before\n") and "\n\nbetween\n" in first and first.endswith("\n\nafter\n")
    report.write_docs(docs, {"cpu": report.section("cpu", [], "", "Command.", False), "cuda": unmeasured})
    assert docs.read_text() == first
    report.write_docs(docs, {"cpu": measured.replace("some", "another")})
    assert docs.read_text() == first.replace("some processor", "another processor")


def test_a_device_without_a_measurement_has_a_sentence_and_its_command_in_place_of_a_table():
    unmeasured = [result({}), result({})]
    for each in unmeasured:
        each.reason = "no CUDA device"
    text = report.section("cuda", unmeasured, "", "Command.", False)
    assert text == "### CUDA\n\nNot measured: no CUDA device. `python -m benchmarks gpu` measures it.\n"
    some = report.section("cuda", [*unmeasured, result({FFC: [1.0], PLAIN: [1.0]})], "a GPU", "Command.", False)
    assert some.count("| not measured: no CUDA device |") == 2 and "plain layer, 1.00 s" in some


def test_docs_without_markers_are_refused(tmp_path):
    (tmp_path / "performance.md").write_text(report.marker("cpu", "begin"))
    with pytest.raises(ValueError, match="benchmark cpu: end"):
        report.check_markers(tmp_path / "performance.md")


def test_the_shipped_docs_have_the_markers():
    report.check_markers(ROOT / "docs/background/performance.md")


def test_both_detectors_classify_as_many_proposals_as_the_line_says():
    pytest.importorskip("detectron2")
    from detectron2.utils.events import EventStorage

    detection.models.cache_clear()
    pair = detection.models(detection.FPN, "cpu", 10, True)
    data = detection.samples(1, (128, 192), 80)
    for run, expected in ((detection.infer, 10), (detection.iterate, 512)):
        rows = []
        for model, optimizer in pair.values():
            layer = model.roi_heads.box_predictor.cls_score
            hook = layer.register_forward_pre_hook(lambda _, inputs, rows=rows: rows.append(len(inputs[0])))
            with EventStorage():
                run(model, optimizer, data)
            hook.remove()
        assert rows == [expected, expected]
    stock, ffc = (model for model, _ in pair.values())
    weights = stock.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in ffc.state_dict().items() if ".filters." not in name)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--write-docs", "--quick"], "--write-docs requires a full run"),
        (["--device", "cuda"], "torch finds no CUDA device"),
        (["--threads", "0"], "--threads must be at least 1"),
        (["--only", "layer"], "invalid choice: 'layer'"),
    ],
)
def test_a_wrong_command_is_refused_at_once(arguments, message, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit) as stopped:
        command_line.main(arguments)
    assert stopped.value.code == 2 and message in capsys.readouterr().err


@pytest.mark.slow
def test_a_quick_run_reports_every_line_and_says_what_was_not_measured(tmp_path):
    pytest.importorskip("detectron2")
    pytest.importorskip("mmseg")
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks", "--quick", "--work-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    works = [work for module in (layers, segmentation_vote, detection, segmentation) for work in module.works(True)]
    content = json.loads((tmp_path / "results.json").read_text())
    assert [(line["work"], line["device"]) for line in content["lines"]] == [(w.name, w.device) for w in works]
    for line in content["lines"]:
        on_cpu = line["device"] == "cpu"
        assert line["not_measured"] == ("" if on_cpu else "no CUDA device")
        assert set(line["samples"]) >= ({FFC, *line["bars"]} if on_cpu else set())
        assert all(sample > 0 for samples in line["samples"].values() for sample in samples)
    table = (tmp_path / "table.md").read_text()
    assert table in done.stdout
    cpu, cuda = table.split("### CUDA")
    assert cpu.count("\n| ") == 1 + sum(len(work.bars) for work in works if work.device == "cpu")
    assert "not measured" not in cpu
    assert cuda.strip() == "Not measured: no CUDA device. `python -m benchmarks gpu` measures it."
    assert "](performance.png)" in cpu and ".png" not in cuda
    assert (tmp_path / "performance.png").read_bytes().startswith(b"\x89PNG")
    assert not (tmp_path / "performance_cuda.png").exists()
