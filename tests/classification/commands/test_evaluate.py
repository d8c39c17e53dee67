"""``ffc-dense evaluate`` and ``predict`` of classifiers: scores, predictions, refusals; and ``Classifier``."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from class_folders import write_images
from repository import ROOT

pytest.importorskip("mmpretrain")

import mmpretrain
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS
from PIL import Image
from small_classifier import disagreeing
from tools_in_process import run_tool

from ffc_dense.classification import Classifier
from ffc_dense.classification.commands import evaluate, predict
from ffc_dense.classification.commands.analyze import analyze
from ffc_dense.classification.inspection import comparison
from ffc_dense.errors import UserError

FFC, STOCK = (
    ROOT / "configs/imagenet" / f"resnet18{kind}_1xb4-2_mini-imagenet-32x32_instant_test.py" for kind in ("-ffc", "")
)
ALL = ["vote", "mean", *(f"out{i}" for i in range(1, 8))]
CLASSES = [f"n{k:08d}" for k in range(10)]


def model_of(path, seed=0):
    init_default_scope("mmpretrain")
    torch.manual_seed(seed)
    return disagreeing(MODELS.build(Config.fromfile(path).model), seed)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classification")
    write_images(folder / "data" / "mini_imagenet")
    meta = dict(dataset_meta=dict(classes=tuple(CLASSES)))
    for name, path, seed in (("ffc", FFC, 0), ("other", FFC, 1), ("stock", STOCK, 0)):
        torch.save({"state_dict": model_of(path, seed).state_dict(), "meta": meta}, folder / f"{name}.pth")
    return folder


@pytest.fixture(autouse=True)
def in_folder(folder, monkeypatch):
    monkeypatch.chdir(folder)


def evaluated(*args):
    evaluate.main(evaluate.parse_args([*map(str, args), "--device", "cpu"]))


def images():
    return sorted(Path("data/mini_imagenet/val").glob("*/*.JPEG"))


def literal_logits(path, model):
    """The logits of the validation images, one by one, from PIL's own resize and crop: (M, N, K)."""
    mean, std = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
    found = []
    for image in images():
        pixels = np.asarray(Image.open(image).resize((32, 32), Image.BILINEAR), dtype=np.float64)
        x = torch.from_numpy(((pixels - mean) / std).transpose(2, 0, 1)).float()[None]
        with torch.no_grad():
            feats = model.extract_feat(x)
            found.append(model.head.outputs(feats) if path == FFC else model.head(feats)[None])
    return torch.cat(found, 1)


def top(logits, k):
    labels = torch.arange(10).repeat_interleave(3)
    return 100 * (logits.topk(k, 1).indices == labels[:, None]).any(1).double().mean().item()


def test_every_reduction_is_scored_as_by_hand_and_as_test_py_does(folder, literal):
    evaluated(FFC, "ffc.pth", "--reduce", "all", "--output", "all", "--opinions")
    report = json.loads(Path("all/reductions.json").read_text())
    assert report["framework"] == "mmpretrain" and list(report["results"]) == ALL
    outputs = literal_logits(FFC, model_of(FFC))
    winners = [literal.winners(ballot)[0] for ballot in literal.samples(outputs, 2)]
    logits = dict(zip(ALL[2:], outputs, strict=True)) | {"mean": outputs.mean(0)}
    logits["vote"] = torch.stack([outputs[m, n] for n, m in enumerate(winners)])
    for name, scores in report["results"].items():
        assert scores["top1"] == pytest.approx(top(logits[name], 1), abs=1e-4), name
        assert scores["top5"] == pytest.approx(top(logits[name], 5), abs=1e-4), name
    assert len({scores["top5"] for scores in report["results"].values()}) > 2
    for name in ("vote", "out3"):
        rows = list(csv.DictReader(Path(f"all/predictions/{name}.csv").open()))
        assert rows == [
            {k: str(v) for k, v in row.items()} for row in json.loads(Path(f"all/predictions/{name}.json").read_text())
        ]
        assert [Path(row["image"]) for row in rows] == images()
        assert [int(row["label"]) for row in rows] == logits[name].argmax(1).tolist()
        assert [row["class"] for row in rows] == [CLASSES[int(row["label"])] for row in rows]
        chosen = outputs.argmax(2)
        for n, row in enumerate(rows):
            assert [int(row[f"out{m}"]) for m in range(1, 8)] == chosen[:, n].tolist()
            assert float(row["agreement"]) == pytest.approx((chosen[:, n] == int(row["label"])).double().mean().item())
            assert float(row["probability"]) == pytest.approx(logits[name][n].softmax(0).max().item(), abs=1e-4)
    test_py = Path(mmpretrain.__file__).parent / ".mim" / "tools" / "test.py"
    command = [
        sys.executable,
        test_py,
        FFC,
        "ffc.pth",
        "--work-dir",
        "single",
        "--cfg-options",
        "model.head.test_reduce=out5",
    ]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    single = json.loads(next(Path("single").glob("*/*.json")).read_text())
    assert {f"accuracy/{key}": value for key, value in report["results"]["out5"].items()}.items() <= single.items()


def test_a_stock_model_is_scored_too(folder, capsys):
    evaluated(STOCK, "stock.pth", "--output", "plain", "--opinions")
    results = json.loads(Path("plain/reductions.json").read_text())["results"]
    assert list(results) == ["stock"]
    assert results["stock"]["top1"] == pytest.approx(top(literal_logits(STOCK, model_of(STOCK))[0], 1), abs=1e-4)
    assert "| stock |" in capsys.readouterr().out
    assert "agreement" not in Path("plain/predictions/stock.csv").read_text()


def test_an_ensemble_is_scored_by_joint_vote_and_mean(folder, literal):
    evaluated(FFC, "ffc.pth", "--ensemble", "other.pth", "--reduce", "vote,mean", "--output", "two")
    assert not Path("two/reductions.json").exists()
    report = json.loads(Path("two/ensemble.json").read_text())
    assert report["weights"] == ["ffc.pth", "other.pth"]
    outputs = torch.cat([literal_logits(FFC, model_of(FFC, seed)) for seed in (0, 1)])
    winners = [literal.winners(ballot)[0] for ballot in literal.samples(outputs, 2)]
    voted = torch.stack([outputs[m, n] for n, m in enumerate(winners)])
    for name, logits in (("vote", voted), ("mean", outputs.mean(0))):
        assert report["results"][name]["top1"] == pytest.approx(top(logits, 1), abs=1e-4)


def test_classes_in_another_order_than_in_the_training_are_refused(folder):
    content = torch.load("ffc.pth", weights_only=False)
    content["meta"]["dataset_meta"]["classes"] = (CLASSES[0], CLASSES[2], CLASSES[1], *CLASSES[3:])
    torch.save(content, "swapped.pth")
    with pytest.raises(UserError, match=r"class 1 is 'n00000001', in the training of swapped.pth it was 'n00000002'"):
        evaluated(FFC, "swapped.pth", "--output", "refused")
    with pytest.raises(UserError, match="class 1 is 'n00000001'"):
        analyze(str(FFC), "swapped.pth", [], 3, "refused")


@pytest.mark.slow
def test_two_processes_find_what_one_finds(folder):
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "ffc_dense.cli"]
    arguments = ["evaluate", FFC, "ffc.pth", "--reduce", "vote,out1", "--opinions", "--output", "two_process"]
    command = [sys.executable, *launch, *arguments, "--launcher", "pytorch", "--device", "cpu"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    evaluated(FFC, "ffc.pth", "--reduce", "vote,out1", "--opinions", "--output", "one_process")
    for name in ("reductions.json", "predictions/vote.csv"):
        one, two = ((Path(folder) / f"{number}_process" / name).read_text() for number in ("one", "two"))
        assert one == two


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([FFC, "stock.pth"], r"head\.fc\.filters\.0\.weight is missing"),
        ([FFC, "ffc.pth", "--reduce", "median"], "unknown reduction 'median'; choose from all, vote"),
        ([FFC, "gone.pth"], "gone.pth does not exist"),
        ([FFC, "ffc.pth", "--cfg-options", "model.head.num_classes=9"], r"head\.num_classes: 9, .* set it to 10"),
        ([FFC, "ffc.pth", "--cfg-options", "model.head.num_filter=2"], r"model\.head\.num_filter: .*mean num_filters"),
        ([FFC, "ffc.pth", "--cfg-options", "model.head.type=FFCLinearHead"], r"head\.type: .*mean FFCLinearClsHead"),
        ([FFC, "ffc.pth", "--cfg-options", "test_dataloader.dataset.data_root=gone"], "there is no folder gone/val"),
        ([FFC, "ffc.pth", "--cfg-options", "test_evaluator=None"], "test_evaluator: the config has none"),
    ],
)  # fmt: skip
def test_what_cannot_be_evaluated_is_named_with_its_remedy(folder, arguments, message):
    with pytest.raises(UserError, match=message):
        evaluated(*arguments, "--output", "refused")
    assert not Path("refused/reductions.json").exists()


@pytest.mark.parametrize("name", ["vote", "mean", "out2"])
def test_a_classifier_says_of_a_file_and_of_an_array_what_the_evaluation_says(folder, name):
    classifier = Classifier(str(FFC), "ffc.pth", "cpu", reduce=name)
    model = model_of(FFC)
    outputs = literal_logits(FFC, model)
    for n, image in enumerate(images()[::7]):
        found = classifier(image)
        pixels = np.ascontiguousarray(np.asarray(Image.open(image))[:, :, ::-1])
        torch.testing.assert_close(classifier(pixels).scores, found.scores, rtol=0.01, atol=0.01)
        said = outputs[:, 7 * n].softmax(1)
        assert [each.label for each in found.outputs] == said.argmax(1).tolist()
        assert [each.probability for each in found.outputs] == pytest.approx(said.amax(1).tolist(), abs=1e-4)
        assert found.label == int(found.scores.argmax()) and found.name == CLASSES[found.label]
        votes = list(found.votes.values())
        assert sum(votes) == 7 and votes == sorted(votes, reverse=True)
        assert str(found) == f"{found.name} {found.probability:.0%}, {found.votes.get(found.name, 0)} of 7 outputs"


def test_a_stock_classifier_has_one_output_and_no_talk_of_votes(folder):
    found = Classifier(Config.fromfile(STOCK), "stock.pth", "cpu")(images()[0])
    assert len(found.outputs) == 1 and found.outputs[0].label == found.label and "outputs" not in str(found)


def test_a_classifier_refuses_what_is_no_image(folder, tmp_path):
    classifier = Classifier(str(FFC), "ffc.pth", "cpu")
    (tmp_path / "a.jpg").write_text("no image")
    with pytest.raises(ValueError, match="no image that Pillow knows"):
        classifier(tmp_path / "a.jpg")
    with pytest.raises(ValueError, match=r"must be \(H, W, 3\) uint8"):
        classifier(np.zeros((4, 4), np.uint8))


def test_a_pil_image_and_a_config_of_another_framework_are_named(folder):
    classifier = Classifier(str(FFC), "ffc.pth", "cpu")
    with pytest.raises(TypeError, match=r"got PIL\..*; of a PIL image np\.asarray\(image\.convert"):
        classifier(Image.open(images()[0]))
    other = ROOT / "configs/mini_cityscapes/pspnet_r18-d8_1xb4-400_mini-cityscapes-128x128.py"
    for config in (str(other), Config.fromfile(other)):
        with pytest.raises(UserError, match=r"is one of MMSegmentation .*expected one of MMPretrain"):
            Classifier(config, "ffc.pth", "cpu")
    with pytest.raises(UserError, match="is one of MMSegmentation"):
        evaluated(other, "ffc.pth", "--output", "refused")


def test_a_layer_put_in_the_classifiers_place_is_shown_as_the_one_output(folder):
    classifier = Classifier(str(FFC), "ffc.pth", "cpu")
    head = classifier.model.head
    head.fc = torch.nn.Linear(head.fc.in_features, 10)
    found = classifier(images()[0])
    assert [each.label for each in found.outputs] == [found.label]


def test_an_averaged_model_is_scored_by_its_average(folder):
    """mmengine's EMAHook saves the average under ``state_dict``."""
    average, last = model_of(FFC, 0), model_of(FFC, 1)
    meta = dict(dataset_meta=dict(classes=tuple(CLASSES)))
    ema = {f"module.{key}": value for key, value in last.state_dict().items()}
    torch.save({"state_dict": average.state_dict(), "ema_state_dict": ema, "meta": meta}, "ema.pth")
    evaluated(FFC, "ema.pth", "--reduce", "mean", "--output", "ema")
    results = json.loads(Path("ema/reductions.json").read_text())["results"]
    assert results["mean"]["top1"] == pytest.approx(top(literal_logits(FFC, average).mean(0), 1), abs=1e-4)


@pytest.mark.parametrize("reduction", ["vote", "mean"])
def test_test_time_augmentation_averages_what_each_test_mode_gives(folder, reduction):
    """mmpretrain's test.py: the probabilities of an image and of its mirror image are averaged."""
    option = f"head.test_reduce={reduction}"
    command = ["test", FFC, "ffc.pth", "--tta", "--work-dir", f"tta_{reduction}", "--cfg-options"]
    code, _, err = run_tool("mmseg_tool", *command, f"model.{option}")
    assert code == 2 and "write model.module.head.test_reduce" in err.splitlines()[-1]
    code, _, err = run_tool("mmseg_tool", *command, f"model.module.{option}")
    assert code == 0, err[-2000:]
    found = json.loads(next(Path(f"tta_{reduction}").glob("*/*.json")).read_text())
    model = model_of(FFC)
    model.head.fc.test_reduce = reduction
    cfg = Config.fromfile(FFC)
    cfg.model.data_preprocessor = cfg.model.get("data_preprocessor") or cfg.data_preprocessor
    mean, std = (torch.tensor(cfg.model.data_preprocessor[key]).view(3, 1, 1) for key in ("mean", "std"))
    scores = []
    for image in images():
        pixels = np.asarray(Image.open(image).resize((32, 32), Image.BILINEAR), dtype=np.float32).transpose(2, 0, 1)
        x = (torch.from_numpy(pixels) - mean) / std
        with torch.no_grad():
            scores.append(model(torch.stack([x, x.flip(2)])).softmax(1).mean(0))
    assert found["accuracy/top1"] == pytest.approx(top(torch.stack(scores), 1), abs=1e-4)


def test_a_command_prints_nothing_of_other_packages_about_themselves(folder):
    arguments = ["predict", FFC, "ffc.pth", "--input", images()[0], "--output", "silent", "--device", "cpu"]
    command = [sys.executable, "-m", "ffc_dense", *arguments]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and done.stdout == "1 of 1 files drawn\n"
    assert "Warning" not in done.stderr and "OneDL" not in done.stderr, done.stderr


def test_the_commands_own_lines_come_alone_unless_more_is_asked_for(folder, capfd):
    said = {}
    for verbose in ([], ["--verbose"]):
        # A name of its own: mmengine calls runners by the second, and two of a second share one log file.
        name = f"loud{len(verbose)}"
        options = ["--cfg-options", f"experiment_name={name}"]
        evaluated(FFC, "ffc.pth", "--reduce", "mean", "--output", name, *verbose, *options)
        out, err = capfd.readouterr()
        assert len(out.splitlines()) == 4 and out.startswith("| test mode |")
        said[bool(verbose)] = [line for line in err.splitlines() if " - INFO - " in line]
        (log,) = Path(name).glob("**/*.log")
        assert "Config:" in log.read_text()
    assert len(said[True]) > 5 and not [line for line in said[False] if "Iter(test)" not in line]


def test_predict_writes_pictures_and_rows_and_names_what_it_skips(folder, tmp_path, capsys):
    photos = tmp_path / "photos"
    photos.mkdir()
    for n, image in enumerate(images()[:3]):
        Image.open(image).save(photos / f"{n}.png")
    (photos / "broken.jpg").write_bytes(b"\xff\xd8")
    out = tmp_path / "out"
    arguments = [FFC, "ffc.pth", "--input", photos, "--output", out, "--device", "cpu", "--reduce", "mean"]
    assert predict.main(predict.parse_args(list(map(str, arguments)))) == 1
    assert "broken.jpg" in capsys.readouterr().err
    rows = json.loads((out / "predictions.json").read_text())
    assert [row["image"] for row in rows] == [str(photos / f"{n}.png") for n in range(3)]
    expected = literal_logits(FFC, model_of(FFC)).mean(0).argmax(1)[:3]
    assert [row["label"] for row in rows] == expected.tolist()
    with Image.open(out / "0.png") as picture:
        assert picture.width == 800 and picture.height > 800  # enlarged, with the text below
        assert np.asarray(picture)[800:].std() > 10


def test_predict_draws_stock_ffc_and_bars_of_both(folder, tmp_path, monkeypatch):
    image, drawn = images()[0], []
    bars = comparison.bars
    monkeypatch.setattr(comparison, "bars", lambda *given: drawn.append(given) or bars(*given))
    arguments = [FFC, "ffc.pth", "--input", image, "--output", tmp_path, "--device", "cpu"]
    arguments += ["--stock", STOCK, "stock.pth"]
    assert predict.main(predict.parse_args(list(map(str, arguments)))) == 0
    ((stock, ffc, names, width, height),) = drawn
    for scores, config, checkpoint in ((stock, STOCK, "stock.pth"), (ffc, FFC, "ffc.pth")):
        torch.testing.assert_close(scores, Classifier(config, checkpoint, "cpu")(image).scores)
    with Image.open(tmp_path / image.name) as picture:
        assert picture.width == 3 * width + 2 * 6 and picture.height > height
    picture = bars(torch.tensor([0.8, 0.1, 0.1]), torch.tensor([0.2, 0.7, 0.1]), names, 400, 300)
    right = [np.nonzero((picture == colour).all(2).any(0))[0].max() for colour in (comparison.STOCK, comparison.FFC)]
    assert right == [8 + round(320 * 0.8) + 1, 8 + round(320 * 0.7)]  # the outline is two pixels wide
