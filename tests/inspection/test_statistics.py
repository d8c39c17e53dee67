"""Streaming statistics against literal ones over the whole data; empty, constant, tied and huge streams."""

import math
import pickle
from itertools import pairwise

import pytest
import torch
from literal_report import calibration_error, reliability
from literal_scalars import literal_scalars
from torch import nn

from ffc_dense import FFCConv2d, FFCLinear, vote
from ffc_dense.inspection.activity import Activity, active_units, output_features
from ffc_dense.inspection.analysis import Analysis
from ffc_dense.inspection.calibration import Calibration
from ffc_dense.inspection.decisions import NONE, Decisions, Election, winning_output
from ffc_dense.inspection.gallery import Gallery
from ffc_dense.inspection.table import markdown
from ffc_dense.inspection.training_scalars import training_scalars
from ffc_dense.method.voting import elect

# --- calibration ------------------------------------------------------------------------------------------------------


STREAMS = {
    "random": torch.rand(300, dtype=torch.float64, generator=torch.Generator().manual_seed(0)),
    "edges": torch.arange(16, dtype=torch.float64) / 15,
    "constant": torch.full((40,), 0.3, dtype=torch.float64),
    "certain": torch.ones(40, dtype=torch.float64),
    "fp16": torch.rand(300, generator=torch.Generator().manual_seed(1)).half(),
}


@pytest.mark.parametrize("bins", [1, 10, 15])
@pytest.mark.parametrize("stream", STREAMS)
def test_calibration_in_pieces_equals_the_literal_error_of_the_whole(stream, bins):
    confidence = STREAMS[stream]
    correct = torch.rand(len(confidence)) < 0.6
    calibration = Calibration(bins)
    for piece, right in zip(confidence.split(7), correct.split(7), strict=True):
        calibration.update(piece, right)
    pairs = list(zip(confidence.tolist(), correct.tolist(), strict=True))
    assert calibration.error == pytest.approx(calibration_error(pairs, bins), abs=1e-12)
    for row, (count, mean, accuracy) in zip(calibration.table(), reliability(pairs, bins), strict=True):
        assert row["count"] == count and row["accuracy"] == accuracy
        assert row["confidence"] == (None if mean is None else pytest.approx(mean, abs=1e-12))


def test_calibration_of_nothing_is_none_and_of_the_perfect_is_zero():
    calibration = Calibration()
    assert calibration.error is None and calibration.accuracy is None and len(calibration.table()) == 15
    calibration.update(torch.empty(0), torch.empty(0, dtype=torch.bool))
    assert calibration.error is None
    calibration.update(torch.ones(5), torch.ones(5, dtype=torch.bool))
    assert calibration.error == 0 and calibration.accuracy == 1


# --- activity ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("interpolate", [True, False])
@pytest.mark.parametrize("kind", ["random", "zero", "constant", "negative", "huge", "tiny"])
def test_active_units_are_those_of_the_literal_features(literal, scramble, kind, interpolate):
    x = {
        "random": torch.randn(5, 12), "zero": torch.zeros(5, 12), "constant": torch.full((5, 12), 2.5),
        "negative": -torch.rand(5, 12), "huge": torch.randn(5, 12) * 1e30, "tiny": torch.randn(5, 12) * 1e-40,
    }[kind].double()  # fmt: skip
    layer = scramble(FFCLinear(12, 4, num_filters=3, interpolate=interpolate).double())
    stages = layer.filters(x)
    features = [stages[0]]
    for previous, current in pairwise(stages):
        features += [(previous + current) / 2] * interpolate + [current]
    expected = [[sum(value > 0 for value in row) for row in feature.tolist()] for feature in features]
    assert active_units(stages, -1, interpolate).tolist() == expected
    assert [f.shape for f in literal.stages(x, list(layer.filters), -1)] == [s.shape for s in stages]


def test_activity_of_a_map_is_that_of_its_positions():
    conv = FFCConv2d(6, 3)
    x = torch.randn(2, 6, 4, 5)
    on_map, on_rows = Activity(7), Activity(7)
    on_map.update(active_units(conv.filters(x, -3), -3, True))
    for row in x.permute(0, 2, 3, 1).reshape(-1, 6).split(3):
        on_rows.update(active_units(conv.filters(row), -1, True))
    assert on_map.means() == on_rows.means() and on_map.positions == 40
    assert Activity(7).means() == [None] * 7
    assert output_features(3, True) == ["F0", "(F0+F1)/2", "F1", "(F1+F2)/2", "F2", "(F2+F3)/2", "F3"]
    assert output_features(2, False) == ["F0", "F1", "F2"] and output_features(0, True) == ["F0"]


# --- decisions and elections ------------------------------------------------------------------------------------------


def random_outputs(kind, m=7, p=200, k=5):
    logits = torch.randn(m, p, k)
    if kind == "constant":
        logits = torch.ones(m, p, k)
    elif kind == "tied":  # few different values: labels and confidences tie often
        logits = torch.randint(0, 2, (m, p, k)).float()
    elif kind == "huge":
        logits = logits * 1e30
    return logits


@pytest.mark.parametrize("kind", ["random", "constant", "tied", "huge"])
def test_the_winner_from_labels_and_confidences_is_the_votes_winner(kind):
    outputs = random_outputs(kind)
    labels, confidences = zip(*(elect(output[None], 2)[1:] for output in outputs), strict=True)
    assert torch.equal(winning_output(torch.stack(labels), torch.stack(confidences)), vote(outputs, -1)[1])


@pytest.mark.parametrize("kind", ["random", "constant", "tied", "huge"])
def test_decisions_in_pieces_equal_literal_counts(kind):
    outputs = random_outputs(kind)
    truth = torch.randint(-1, 5, (200,))
    probabilities = outputs.softmax(-1)
    labels = probabilities.argmax(-1)
    confidence = probabilities.amax(-1)
    right = probabilities.gather(2, truth.clamp(min=0).expand(7, -1)[..., None])[..., 0]
    decisions = Decisions()
    for piece in torch.arange(200).split(33):
        decisions.update(labels[3][piece], confidence[3][piece], right[3][piece], truth[piece], labels[0][piece])
    rows = list(zip(labels[3].tolist(), labels[0].tolist(), truth.tolist(), confidence[3].tolist(), strict=True))
    known = [row for row in rows if row[2] != -1]
    found = decisions.summary()
    assert (found["decisions"], found["labelled"]) == (200, len(known))
    assert found["changed"] == sum(own != first for own, first, *_ in rows) / 200
    assert found["fixed"] == sum(own == t != first for own, first, t, _ in known) / len(known)
    assert found["broken"] == sum(first == t != own for own, first, t, _ in known) / len(known)
    assert found["accuracy"] == sum(own == t for own, _, t, _ in known) / len(known)
    assert found["mean_confidence"] == pytest.approx(math.fsum(c for *_, c in rows) / 200, abs=1e-9)
    assert found["ece"] == pytest.approx(calibration_error([(c, own == t) for own, _, t, c in known], 15), abs=1e-9)
    expected = math.fsum(float(p) for p, t in zip(right[3], truth, strict=True) if t != -1) / len(known)
    assert found["true_probability"] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("kind", ["random", "constant", "tied"])
def test_election_in_pieces_equals_literal_counts(literal, kind):
    outputs = random_outputs(kind).double()
    truth = torch.randint(-1, 5, (200,))
    labels = outputs.argmax(-1)
    logits, winner = vote(outputs, -1)
    elected = logits.argmax(-1)
    election = Election(7)
    for piece in torch.arange(200).split(33):
        election.update(labels[:, piece], winner[piece], elected[piece], truth[piece])
    winners = [literal.winners(ballot)[0] for ballot in literal.samples(outputs, 2)]
    assert election.won_shares() == [winners.count(m) / 200 for m in range(7)]
    columns = zip(labels.T.tolist(), elected.tolist(), strict=True)
    agreeing = [sum(label == e for label in column) for column, e in columns]
    for row in election.agreement():
        inside = [i for i, count in enumerate(agreeing) if count == row["outputs"]]
        known = [i for i in inside if truth[i] != NONE]
        assert row["share"] == len(inside) / 200
        right = sum(int(elected[i]) == int(truth[i]) for i in known)
        assert row["accuracy"] == (right / len(known) if known else None)


def test_nothing_decided_and_nothing_labelled_give_none():
    decisions, election = Decisions(), Election(7)
    nothing = torch.empty(0, dtype=torch.int64)
    decisions.update(nothing, torch.empty(0), torch.empty(0), nothing, nothing)
    election.update(nothing.expand(7, 0), nothing, nothing, nothing)
    assert decisions.summary()["changed"] is None and decisions.summary()["ece"] is None
    assert election.won_shares() == [None] * 7 and election.agreement()[7]["share"] is None
    zeros = torch.zeros(4, dtype=torch.int64)
    decisions.update(zeros, torch.ones(4), torch.zeros(4), zeros + NONE, zeros)
    found = decisions.summary()
    assert (found["decisions"], found["labelled"], found["changed"]) == (4, 0, 0)
    assert found["accuracy"] is None and found["fixed"] is None and found["true_probability"] is None


# --- the whole --------------------------------------------------------------------------------------------------------


def fed(analysis, images, p=50):
    for _ in range(images):
        outputs = torch.randn(7, p, 4)
        labels, confidence = outputs.argmax(-1), outputs.softmax(-1).amax(-1)
        truth = torch.randint(0, 4, (p,))
        analysis.images += 1
        analysis.activity.update(torch.randint(0, 9, (7, p)))
        winner = winning_output(labels, confidence)
        elected = labels.gather(0, winner[None])[0]
        for name, label in zip(analysis.names, [*labels, labels[0], elected], strict=True):
            analysis.decisions[name].update(label, confidence[0], confidence[0], truth, labels[0])
        analysis.election.update(labels, winner, elected, truth)
        fixed = int(((elected == truth) & (labels[0] != truth)).sum())
        broken = int(((elected != truth) & (labels[0] == truth)).sum())
        analysis.gallery.offer(fixed, broken, lambda: {"image": "x" * 10, "boxes": [[0, 0, 1, 1]] * 40})
    return analysis


def test_the_statistics_of_a_long_stream_are_as_small_as_those_of_a_short_one():
    def size(images):
        analysis = fed(Analysis(FFCLinear(9, 4), gallery=2), images)
        del analysis.gallery._order
        return len(pickle.dumps(analysis))

    assert size(200) < size(20) + 100


def test_a_stock_layer_has_one_row_and_no_vote():
    analysis = Analysis(nn.Linear(6, 3))
    assert analysis.names == ["stock"] and not analysis.is_ffc
    analysis.activity.update(torch.full((1, 4), 5))
    zeros = torch.zeros(4, dtype=torch.int64)
    analysis.decisions["stock"].update(zeros, torch.ones(4), torch.ones(4), zeros, zeros)
    report = analysis.report("AP", {"stock": {"AP": 12.5}})
    assert report["agreement"] == report["class_gain"] == [] and report["outputs"][0]["won"] is None
    expected = "| stock | F0 | 5.0 | 100.00 | 100.00 | 0.00 | 12.50 | - | - | - | - |"
    assert markdown(report).splitlines()[2:] == [expected]


def test_the_report_of_an_empty_dataset_is_a_table_of_dashes():
    lines = markdown(Analysis(FFCLinear(6, 3)).report("mIoU", {})).splitlines()
    assert len(lines) == 2 + 9 and lines[2] == "| out1 | F0 |" + " - |" * 9


def test_class_gain_is_ranked_and_leaves_out_classes_without_score():
    scores = {"out1": {"class.a": 10.0, "class.b": 50.0, "class.c": None, "mIoU": 30.0},
              "vote": {"class.a": 12.0, "class.b": 55.0, "class.c": 3.0, "mIoU": 33.5}}  # fmt: skip
    report = Analysis(FFCLinear(6, 3)).report("mIoU", scores)
    assert [(row["class"], row["gain"]) for row in report["class_gain"]] == [("b", 5.0), ("a", 2.0)]
    assert report["outputs"][-1]["mIoU"] == 33.5 and report["outputs"][1]["mIoU"] is None


@pytest.mark.parametrize("size", [0, 1, 3, 100])
def test_gallery_keeps_what_sorting_the_whole_stream_gives(size):
    torch.manual_seed(size)
    stream = torch.randint(0, 6, (40, 2)).tolist()
    gallery, described = Gallery(size), []
    for i, (fixed, broken) in enumerate(stream):
        gallery.offer(fixed, broken, lambda i=i: described.append(i) or {"image": i})
    for place, kind in enumerate(("fixed", "broken")):
        expected = sorted((i for i in range(40) if stream[i][place]), key=lambda i: (-stream[i][place], i))[:size]
        assert [entry["image"] for entry in gallery.entries()[kind]] == expected
    assert len(described) == len(set(described))


# --- training scalars -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("interpolate", [True, False])
def test_training_scalars_equal_literal_ones(literal, scramble, interpolate):
    layer = scramble(FFCConv2d(6, 4, interpolate=interpolate))
    x, labels = torch.randn(2, 6, 3, 5), torch.randint(-1, 4, (2, 3, 5))
    found = training_scalars(layer, x, labels)
    assert found == pytest.approx(literal_scalars(literal, layer, x, labels, labels != NONE))
    assert len(found) == (7 if interpolate else 4) + 2 + 4


def test_training_scalars_of_nothing_unlabelled_and_half_precision():
    layer = FFCLinear(6, 4)
    assert training_scalars(layer, torch.empty(0, 6), torch.empty(0, dtype=torch.int64)) == {}
    assert list(training_scalars(layer, torch.randn(3, 6), None)) == [f"stage{i}/active_units" for i in range(4)]
    unknown = training_scalars(layer, torch.randn(3, 6), torch.full((3,), NONE))
    assert not any("accuracy" in name for name in unknown)
    x, labels = torch.randn(30, 6).bfloat16(), torch.randint(0, 4, (30,))
    with torch.autocast("cpu", torch.bfloat16):
        assert training_scalars(layer, x, labels) == training_scalars(layer, x.float(), labels)


def test_training_scalars_leave_random_numbers_and_graph_alone():
    layer = FFCLinear(6, 4).train()
    x = torch.randn(8, 6, requires_grad=True)
    before = torch.get_rng_state()
    training_scalars(layer, x, torch.zeros(8, dtype=torch.int64))
    assert torch.equal(torch.get_rng_state(), before) and x.grad is None
    assert all(parameter.grad is None for parameter in layer.parameters()) and layer.training
