"""The picture of the scores: every run is a dot, and no axis magnifies the variation between seeds."""

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from run_folders import PAPER_PSP, mmengine_run

from ffc_dense import style
from ffc_dense.paper import compare, read_runs
from ffc_dense.paper.plot import LEAST, _at_least, _panel

STOCK, FFC = (78.1, 78.3, 78.2), (78.4, 78.2, 78.6)


@pytest.fixture
def axis(tmp_path):
    folders = [mmengine_run(tmp_path / f"{kind}{seed}", ffc=kind == "ffc", seed=seed, miou=miou)
               for kind, scores in (("stock", STOCK), ("ffc", FFC)) for seed, miou in enumerate(scores)]  # fmt: skip
    (group,) = (each for each in compare(read_runs(folders)) if each.runs)
    assert group.name == PAPER_PSP
    figure, axis = style.pyplot().subplots()
    _panel(axis, "mIoU", [group], "vote")
    yield axis
    style.pyplot().close(figure)


def test_every_run_is_a_dot_of_its_classifier_and_nothing_joins_the_classifiers(axis):
    dots = {each.get_label(): np.asarray(each.get_offsets()) for each in axis.collections}
    assert sorted(dots["stock"][:, 0]) == sorted(STOCK) and sorted(dots["FFC, vote"][:, 0]) == sorted(FFC)
    assert len({*dots["stock"][:, 1]}) == len({*dots["FFC, vote"][:, 1]}) == 1
    assert not axis.lines


def test_the_axis_spans_enough_and_holds_the_dots(axis):
    low, high = axis.get_xlim()
    assert high - low == pytest.approx(LEAST) and low < min(STOCK) and high > max(FFC)


@pytest.mark.parametrize(("given", "expected"), [
    ((70, 72), (66, 76)), ((20, 60), (20, 60)), ((97, 99.5), (90, 100)), ((0.5, 1), (0, 10)), ((97, 101), (91, 101)),
])  # fmt: skip
def test_an_axis_is_widened_within_0_and_100(given, expected):
    assert _at_least(10, *given) == pytest.approx(expected)
