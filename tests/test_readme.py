"""The commands of the README and of the first pages run, in a folder laid out like a clone, on little data, briefly."""

import importlib.metadata
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("detectron2")
pytest.importorskip("mmseg")

ROOT = Path(__file__).parent.parent
FIRST = ("start/install", "start/first-training", "how-to/datasets", "how-to/train")
PAGES = ("README.md", *map("docs/{}.md".format, FIRST))
TEXT = "\n".join((ROOT / page).read_text() for page in PAGES)
BIN = Path(sys.executable).parent
DOCS = sorted((ROOT / "docs").rglob("*.md"))

DETECTION = "SOLVER.MAX_ITER 12 SOLVER.STEPS '(10,)' SOLVER.WARMUP_ITERS 2 SOLVER.IMS_PER_BATCH 2"
SEGMENTATION = (
    "train_cfg.max_iters=12 train_cfg.val_interval=12 param_scheduler.0.end=12 train_dataloader.batch_size=2 "
    "default_hooks.logger.interval=1 default_hooks.checkpoint.interval=12"
)
CLASSIFICATION = (
    "train_cfg.max_iters=12 train_cfg.val_interval=12 param_scheduler.0.end=12 train_dataloader.batch_size=4 "
    "default_hooks.checkpoint.interval=12"
)
SHORTER = {  # the end of a command: what is appended to it
    "minidata all --root data": "--num-train 6 --num-val 3",
    "ffc-dense train mini_coco/faster_rcnn_R_18_FPN_ffc.yaml": DETECTION,
    "OUTPUT_DIR work_dirs/train_net": DETECTION,
    "--work-dir work_dirs/pspnet": f"--cfg-options {SEGMENTATION}",
    "--work-dir work_dirs/own_script": f"--cfg-options {SEGMENTATION}",
    "--work-dir work_dirs/resnet18": f"--cfg-options {CLASSIFICATION}",
}
NOT_RUN = ("pip install", "make ")  # downloads; what runs this test


def bash_blocks():
    """The blocks but those that download or run this test, as scripts in the order of the pages."""
    blocks = re.findall(r"```bash\n(.*?)```", TEXT, re.DOTALL)
    assert len(blocks) >= 6
    commands = [[line for line in block.splitlines() if not line.startswith(("#", "source "))] for block in blocks]
    return ["\n".join(lines) + "\n" for lines in commands if not lines[0].startswith(NOT_RUN)]


def shortened(script):
    for end, extra in SHORTER.items():
        script = script.replace(f"{end}\n", f"{end} {extra}\n")
    return script.replace("iter_400.pth", "iter_12.pth").replace("iter_504.pth", "iter_12.pth")


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clone")
    for name in ("checkpoints", "configs", "tools"):
        (folder / name).symlink_to(ROOT / name)
    return folder


@pytest.mark.ci
def test_readme_commands_train_evaluate_and_predict(clone):
    environment = dict(os.environ, PATH=f"{BIN}:{os.environ['PATH']}", OMP_NUM_THREADS="2", PYTHONWARNINGS="ignore")
    script = "set -e\n" + "".join(shortened(block) for block in bash_blocks())
    assert [script.count(each) for each in (DETECTION, SEGMENTATION, CLASSIFICATION)] == [2, 2, 1]
    done = subprocess.run(
        ["bash", "-c", script], cwd=clone, env=environment, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]

    runs = clone / "work_dirs"
    for folder in ("faster_rcnn_R_18_FPN_ffc", "train_net"):
        lines = (runs / folder / "metrics.json").read_text().splitlines()
        assert "bbox/AP50" in json.loads(lines[-1])
    for path in ("faster_rcnn_R_18_FPN_ffc/eval_model_final", "pspnet/eval_iter_12", "resnet18/eval_iter_12"):
        reductions = json.loads((runs / path / "reductions.json").read_text())["results"]
        assert list(reductions) == ["vote", "mean", *(f"out{i}" for i in range(1, 8))]
    for folder in ("boxes", "pixels", "images"):
        suffixes = [path.suffix.lower() for path in (runs / folder).rglob("*")]
        assert sum(suffix in (".jpg", ".jpeg", ".png") for suffix in suffixes) == 3, folder
    assert "</html>" in (runs / "report.html").read_text()
    for segmentation in (runs / "pspnet", runs / "own_script"):
        (lines,) = (path.read_text().splitlines() for path in segmentation.glob("*/vis_data/scalars.json"))
        entries = [json.loads(line) for line in lines]
        losses = [entry["loss"] for entry in entries if "loss" in entry]
        assert len(losses) == 12 and sum(losses[-3:]) < 0.9 * sum(losses[:3])
        assert "mIoU" in entries[-1]


def test_extras_in_the_readme_exist():
    extras = set(re.findall(r"-e '\.\[(\w+)\]'", TEXT))
    assert extras == {"detection", "segmentation", "classification", "minidata"}
    assert extras <= set(importlib.metadata.metadata("ffc_dense").get_all("Provides-Extra"))


def test_readme_builds_the_detectron2_that_is_pinned():
    (commit,) = re.findall(r"detectron2\.git@([0-9a-f]{40})", TEXT)
    assert commit in (ROOT / "requirements" / "detectron2.txt").read_text()


@pytest.mark.parametrize(
    ("page", "least"),
    [
        ("README.md", 1), ("docs/index.md", 1), ("docs/start/own-data-mmseg.md", 1), ("docs/start/pytorch.md", 3),
        ("docs/how-to/train.md", 2), ("CONTRIBUTING.md", 1),
    ],
)  # fmt: skip
def test_python_on_the_pages_runs(page, least):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    assert len(blocks) >= least
    for block in blocks:
        exec(compile(block, page, "exec"), {})


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", *(str(each.relative_to(ROOT)) for each in DOCS)])
def test_links_exist(page):
    text = re.sub(r"```.*?```", "", (ROOT / page).read_text(), flags=re.DOTALL)
    links = [link.partition("#") for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    folder = (ROOT / page).parent
    assert [link for link, _, _ in links if link and not (folder / link).exists()] == []
    for link, _, anchor in links:
        target = folder / link if link else ROOT / page
        if anchor and target.suffix == ".md":
            headings = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
            assert anchor in map(anchor_of, headings), f"{link}#{anchor}"


def anchor_of(heading):
    """As GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower().replace("`", "")).replace(" ", "-")


def test_readme_shows_the_two_commands():
    readme = (ROOT / "README.md").read_text()
    assert "\nmake demo " in readme and "\nmake test " in readme and len(readme.splitlines()) <= 120
