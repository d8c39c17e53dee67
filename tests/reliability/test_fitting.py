"""What does not fit is refused in the same words in both frameworks."""

import pytest
import torch
from torch import nn

from ffc_dense.reliability.fitting import SHOWN, refuse_misfit


def test_the_message_names_each_kind_of_fault_and_what_to_do():
    with pytest.raises(RuntimeError) as caught:
        refuse_misfit("x.pth", ["a"], {"b": ((1, 2), (3, 2))}, ["fc.bias", "cls.filters.0.weight"], "MODEL.WEIGHTS")
    assert str(caught.value) == (
        "x.pth cannot be evaluated with this config: a is missing; b is (1, 2) in the file, (3, 2) in the model; "
        "cls.filters.0.weight has no place in the model. Evaluate with the config that it was trained with, or train "
        "from it first (MODEL.WEIGHTS)"
    )


def test_further_keys_of_a_file_do_no_harm_and_many_faults_are_counted():
    refuse_misfit("x.pth", [], {}, ["fc.weight", "fc.bias"], "load_from")
    with pytest.raises(RuntimeError, match=r"k7 is missing; and 4 more\. "):
        refuse_misfit("x.pth", (f"k{i}" for i in range(SHOWN + 4)), {}, [], "load_from")


def test_both_frameworks_refuse_the_same_files_in_the_same_words(tmp_path):
    detection = pytest.importorskip("ffc_dense.detection")
    pytest.importorskip("mmengine")
    from ffc_dense.openmmlab.inputs.checkpoint import load_for_evaluation

    model, path = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1)), tmp_path / "x.pth"
    good = model.state_dict()
    cases = {
        "missing": {key: value for key, value in good.items() if key != "1.bias"},
        "shape": {**good, "0.weight": torch.ones(5, 2)},
        "filters": {**good, "cls.filters.0.weight": torch.ones(3)},
    }
    for state in cases.values():
        torch.save({"model": state}, path)
        with pytest.raises(RuntimeError) as by_detectron2:
            detection.EvalCheckpointer(model).load(str(path))
        torch.save({"state_dict": state}, path)
        with pytest.raises(RuntimeError) as by_mmengine:
            load_for_evaluation(model, path)
        assert str(by_detectron2.value).rpartition("(")[0] == str(by_mmengine.value).rpartition("(")[0]
    torch.save({"model": good}, path)
    detection.EvalCheckpointer(model).load(str(path))
