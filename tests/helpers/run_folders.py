"""Run folders as detectron2, mmengine and the evaluations leave them, and the rows of a Markdown table."""

import json

import yaml

from ffc_dense.paper.systems import SYSTEMS

PAPER_C4 = next(system.config for system in SYSTEMS if system.table == 4)
PAPER_R50 = next(system.config for system in SYSTEMS if system.title == "ResNet-50")
PAPER_PSP = next(system.config for system in SYSTEMS if system.table == 5)


def box_scores(ap):
    return {"AP": ap, "AP50": ap + 19, "AP75": ap + 1, "APl": float("nan")}


def detectron2_run(folder, name=PAPER_C4, ffc=False, seed=1, ap=None, iteration=490_000, max_iter=490_000, **model):
    """What tools/train_net.py leaves behind: config.yaml, train_config.yaml, metrics.json, log.txt."""
    folder.mkdir(parents=True)
    config = {
        "DATALOADER": {"NUM_WORKERS": seed}, "OUTPUT_DIR": str(folder), "SEED": seed,
        "MODEL": {"DEVICE": "cuda", "WEIGHTS": "R-50.pkl", "ROI_HEADS": {"NAME": "FFC" * ffc + "Res5ROIHeads"},
                  "ROI_BOX_HEAD": {"FFC": {"NUM_FILTERS": 3, "INTERPOLATE": True, "TEST_REDUCE": "vote"}}, **model},
        "SOLVER": {"MAX_ITER": max_iter, "CHECKPOINT_PERIOD": 5000}, "TEST": {"EVAL_PERIOD": 0, "EXPECTED_RESULTS": []},
    }  # fmt: skip
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "train_config.yaml").write_text(yaml.safe_dump(config))
    stem = f"{name}_ffc" if ffc else name
    (folder / "log.txt").write_text(f"[time] detectron2 INFO: Contents of args.config_file=configs/{stem}.yaml:\n")
    lines = [{"iteration": i, "total_loss": 1.0, "time": 0.3} for i in (19, iteration - 1)]
    if ap is not None:
        lines.append({f"bbox/{key}": value for key, value in box_scores(ap).items()} | {"iteration": max_iter})
    (folder / "metrics.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def mmengine_run(folder, name=PAPER_PSP, ffc=False, seed=1, miou=None, step=40_000, max_iters=40_000):
    """What mmengine's Runner leaves behind: the dumped config twice, TIMESTAMP/vis_data/scalars.json."""
    stem = name.replace("pspnet_", "pspnet-ffc_") if ffc else name
    text = (
        f"custom_imports = dict(allow_failed_imports=False, imports=['ffc_dense.segmentation'])\n"
        f"load_from = None\nmodel = dict(\n    decode_head=dict(channels=512, type='{'FFC' * ffc}PSPHead'),\n"
        f"    test_cfg=dict(crop_size=(\n        769,\n        769,\n    ), mode='slide'))\n"
        f"optim_wrapper = dict(optimizer=dict(lr=0.01, type='SGD'), type='OptimWrapper')\n"
        f"param_scheduler = [\n    dict(eta_min=0, type='PolyLR'),\n]\nrandomness = dict(seed={seed})\n"
        f"train_cfg = dict(max_iters={max_iters}, type='IterBasedTrainLoop', val_interval=4000)\n"
        f"train_dataloader = dict(batch_size=2, num_workers={seed})\nwork_dir = '{folder}'\n"
    )
    log = folder / "20261124_100000" / "vis_data" / "scalars.json"
    log.parent.mkdir(parents=True)
    for path in (folder / f"{stem}.py", log.parent / "config.py"):
        path.write_text(text)
    lines = [{"lr": 0.01, "loss": 2.0, "time": 0.1, "iter": i, "step": i} for i in (50, step)]
    if miou is not None:
        lines.append({"aAcc": miou + 15, "mIoU": miou, "mAcc": miou + 7, "time": 0.05, "step": max_iters})
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def classification_run(folder, name=PAPER_R50, ffc=False, seed=1, top1=None, epoch=90, max_epochs=90, per_epoch=300):
    """What mmpretrain's train.py leaves behind: a training by epochs, validated after each."""
    text = (
        "default_scope = 'mmpretrain'\nload_from = None\n"
        f"model = dict(head=dict(num_classes=1000, type='{'FFC' * ffc}LinearClsHead'), type='ImageClassifier')\n"
        "optim_wrapper = dict(optimizer=dict(lr=0.1, type='SGD'), type='OptimWrapper')\n"
        f"param_scheduler = [\n    dict(type='MultiStepLR'),\n]\nrandomness = dict(seed={seed})\n"
        f"train_cfg = dict(by_epoch=True, max_epochs={max_epochs}, val_interval=1)\n"
        f"train_dataloader = dict(batch_size=32, num_workers={seed})\nwork_dir = '{folder}'\n"
    )
    log = folder / "20261124_100000" / "vis_data" / "scalars.json"
    log.parent.mkdir(parents=True)
    stem = name.replace("_", "-ffc_", 1) if ffc else name
    for path in (folder / f"{stem}.py", log.parent / "config.py"):
        path.write_text(text)
    lines = []
    for done in range(1, epoch + 1):
        step = done * per_epoch - 100
        lines.append({"lr": 0.1, "loss": 2.0, "epoch": done, "iter": step, "step": step})
        lines.append({"ffc/stage0/active_units": 20.0, "step": step} if ffc else {"note": 1.0, "step": step})
        if top1 is not None:
            lines.append({"accuracy/top1": top1 - epoch + done, "accuracy/top5": top1 + 17, "step": done})
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def reductions(folder, framework, weights, results):
    folder.mkdir(parents=True, exist_ok=True)
    content = {"framework": framework, "config": "any.yaml", "weights": str(weights), "results": results}
    (folder / "reductions.json").write_text(json.dumps(content))
    return folder


def rows(text, *cells):
    """The rows of Markdown tables in ``text`` that begin with these cells, each a list of cells."""
    lines = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    return [row for row in ([cell.strip() for cell in line] for line in lines) if tuple(row[: len(cells)]) == cells]
