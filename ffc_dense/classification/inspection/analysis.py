"""Table 1 for a classifier: a decision is the label of an image, or of a video."""

from contextlib import AbstractContextManager
from functools import partial

import torch
from mmengine.model import is_model_wrapper
from mmpretrain.registry import LOOPS
from torch import Tensor, nn

from ...inspection.activity import active_units
from ...inspection.analysis import Analysis
from ...inspection.decisions import winning_output
from ...method.reductions import STOCK
from ..evaluation.reductions import AllReductionsTestLoop


@LOOPS.register_module()
class AnalysisTestLoop(AllReductionsTestLoop):
    """Identical to :class:`AllReductionsTestLoop` under every output, mean and vote, except that ``analysis`` is kept.

    Args:
        runner, dataloader, evaluator, fp16: as in :class:`AllReductionsTestLoop`.
        gallery: see :class:`Analysis`.

    Raises:
        ValueError: the head does not end in one linear layer, or the dataset has no labels.
    """

    def __init__(self, runner, dataloader, evaluator, fp16: bool = False, gallery: int = 8):
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        linear = [layer for layer in model.head.modules() if isinstance(layer, nn.Linear)]
        if not linear:
            raise ValueError(f"model.head: {type(model.head).__name__} has no linear layer that classifies its feature")
        self.model, self.layer = model, linear[-1]
        self.analysis = Analysis(self.layer, gallery)
        names = [] if self.analysis.names == [STOCK] else self.analysis.names
        super().__init__(runner, dataloader, evaluator, fp16, names)
        self.class_names = list(self.dataloader.dataset.metainfo.get("classes") or ())
        self.class_names = self.class_names or [str(label) for label in range(self.layer.weight.shape[0])]
        classes = len(self.class_names)
        self.images_of = torch.zeros(classes, dtype=torch.int64)
        self.right_of = {name: torch.zeros(classes, dtype=torch.int64) for name in self.analysis.names}
        for name, each in self.evaluators.items():
            each.process = _also(self._note, name, each.process)
        self.batch: dict[str, tuple[Tensor, Tensor]] = {}

    def run(self) -> dict:
        """Launch test."""
        with self.counting_units():
            return super().run()

    def run_iter(self, idx: int, data_batch: dict) -> None:
        self.batch = {}
        super().run_iter(idx, data_batch)
        if self.analysis.is_ffc:
            self._elect()

    def class_accuracy(self, name: str) -> dict[str, float | None]:
        """Per class, the share in percent of its images that a test mode got right; None without images."""
        counts = zip(self.class_names, self.right_of[name].tolist(), self.images_of.tolist(), strict=True)
        return {label: 100 * right / total if total else None for label, right, total in counts}

    def counting_units(self) -> AbstractContextManager:
        """Within the context, the active units of every classified feature are counted."""
        return self.layer.register_forward_pre_hook(self._count_units)

    def picture_of(self, metainfo: dict) -> dict:
        """What the gallery keeps of a sample: ``image``, its path, and ``height`` and ``width`` of what is shown."""
        height, width = metainfo["ori_shape"][:2]
        return {"image": metainfo.get("img_path"), "height": height, "width": width}

    def _count_units(self, layer: nn.Linear, args: tuple) -> None:
        if not self.analysis.is_ffc:
            self.analysis.activity.update(active_units([args[0]], -1, False))
        elif layer.test_reduce == "out1":  # the same feature comes in every test mode
            self.analysis.activity.update(active_units(layer.stages(args[0]), -1, layer.interpolate))

    def _note(self, name: str, samples: list) -> None:
        """Take what was predicted in one test mode; Out1 comes first."""
        if "gt_label" not in samples[0]:
            raise ValueError("the test set has no labels: an analysis compares the predictions with them")
        scores = torch.stack([sample.pred_score for sample in samples]).float()
        label = torch.cat([sample.pred_label for sample in samples]).to(scores.device)
        truth = torch.cat([sample.gt_label for sample in samples]).to(scores.device)
        if not self.batch:
            self.samples, self.truth, self.first = samples, truth, label
            self.analysis.images += len(samples)
            self.images_of += torch.bincount(truth.cpu(), minlength=len(self.images_of))
        confidence, right = (scores.gather(1, chosen[:, None])[:, 0] for chosen in (label, truth))
        self.analysis.decisions[name].update(label, confidence, right, truth, self.first)
        self.right_of[name] += torch.bincount(truth[label == truth].cpu(), minlength=len(self.images_of))
        self.batch[name] = label, confidence

    def _elect(self) -> None:
        labels, confidences = (
            torch.stack([self.batch[name][i] for name in self.analysis.output_names]) for i in (0, 1)
        )
        vote, truth = self.batch["vote"][0], self.truth
        self.analysis.election.update(labels, winning_output(labels, confidences), vote, truth)
        right, was_right = vote == truth, self.first == truth
        fixed, broken = (right & ~was_right).tolist(), (was_right & ~right).tolist()
        for n, (is_fixed, is_broken) in enumerate(zip(fixed, broken, strict=True)):
            describe = partial(self._describe, n, "fixed" if is_fixed else "broken")
            self.analysis.gallery.offer(int(is_fixed), int(is_broken), describe)

    def _describe(self, n: int, kind: str) -> dict:
        """For the gallery, in the form of a detector's: one box, the whole image."""
        picture = self.picture_of(self.samples[n].metainfo)
        about = {"before": self.first, "after": self.batch["vote"][0], "truth": self.truth}
        said = {"before_confidence": self.batch["out1"][1], "after_confidence": self.batch["vote"][1]}
        box = {"box": [0, 0, picture["width"], picture["height"]], "kind": kind}
        box |= {key: self.class_names[int(labels[n])] for key, labels in about.items()}
        box |= {key: round(float(values[n]), 4) for key, values in said.items()}
        return {**picture, "boxes": [box]}


def _also(note, name: str, process):
    """An evaluator's ``process`` that shows the samples to ``note`` first: later they are dicts of all test modes."""

    def both(data_samples, data_batch=None):
        note(name, data_samples)
        return process(data_samples=data_samples, data_batch=data_batch)

    return both
