"""Table 1 for a segmentor: the decisions are the pixels of the label maps that mmseg predicts and its evaluator scores.

Shape shorthand: P pixels of an image at the labels' size (H, W), M outputs, K classes.
"""

import torch
from mmengine.model import is_model_wrapper
from mmseg.evaluation import IoUMetric
from mmseg.registry import LOOPS
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from ...inspection.activity import active_units
from ...inspection.analysis import Analysis
from ...inspection.decisions import NONE, winning_output
from ...method.reductions import STOCK
from ..evaluation.reductions import AllReductionsTestLoop
from ..model.opinions import label_probability, last_head

SHOWN_SIDE = 512  # pixels: the longer side of the gallery's label maps
SHOWN_CHANGES = 8  # kinds of changed decisions told for each image of the gallery


@LOOPS.register_module()
class AnalysisTestLoop(AllReductionsTestLoop):
    """Identical to :class:`AllReductionsTestLoop` under every output, mean and vote, except that ``analysis`` is kept.

    Decisions are taken where mmseg takes them, after resizing and after averaging over slide windows. The winner of a
    pixel is found from the outputs' final labels and confidences; in whole inference at the labels' size it is the
    output that won in the head, unless two confidences differ by rounding alone. An image at a time holds one map of K
    scores, M of confidences and M of labels. The active units are those of the feature that the classifier gets, at its
    own resolution.

    Pixels whose label the evaluator ignores, or that name no class, have no truth.

    Args:
        runner, dataloader, evaluator, fp16: as in :class:`AllReductionsTestLoop`.
        gallery: see :class:`Analysis`.

    Raises:
        ValueError: the head's classifier is no ``conv_seg``, the evaluator has no ``IoUMetric``, or the dataset has no
            labels.
    """

    def __init__(self, runner, dataloader, evaluator, fp16: bool = False, gallery: int = 8):
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        head = last_head(model)
        self.layer = head.conv_seg
        if not isinstance(self.layer, nn.Conv2d):
            raise ValueError(f"decode_head: {type(head).__name__} has no conv_seg that classifies its feature")
        self.analysis = Analysis(self.layer, gallery)
        names = [] if self.analysis.names == [STOCK] else self.analysis.names
        super().__init__(runner, dataloader, evaluator, fp16, names)
        self.class_names = list(self.dataloader.dataset.metainfo["classes"])
        scored = [metric for metric in next(iter(self.evaluators.values())).metrics if isinstance(metric, IoUMetric)]
        if not scored:
            raise ValueError("test_evaluator: an analysis needs an IoUMetric, which says what is scored; add one")
        self.ignored = next((metric for metric in scored if not metric.prefix), scored[0]).ignore_index
        for name, each in self.evaluators.items():
            each.process = _also(self._note, name, each.process)
        self.batch: list[_Pixels] = []

    def run(self) -> dict:
        """Launch test."""
        with self.layer.register_forward_pre_hook(self._count_units):
            return super().run()

    def run_iter(self, idx: int, data_batch: dict) -> None:
        super().run_iter(idx, data_batch)
        analysis = self.analysis
        for pixels in self.batch:
            analysis.images += 1
            if analysis.is_ffc:
                self._elect(pixels)
        self.batch = []

    def _count_units(self, layer: nn.Conv2d, args: tuple) -> None:
        if not self.analysis.is_ffc:
            self.analysis.activity.update(active_units([args[0]], -3, False))
        elif layer.test_reduce == "out1":  # the same feature comes in every test mode
            self.analysis.activity.update(active_units(layer.stages(args[0]), -3, layer.interpolate))

    def _note(self, name: str, data_samples: list[SegDataSample]) -> None:
        """Take what was predicted in one test mode; Out1 comes first."""
        for place, sample in enumerate(data_samples):
            if "gt_sem_seg" not in sample:
                raise ValueError("the test set has no labels: LoadAnnotations is missing from the test pipeline")
            label, confidence, right, truth = _decided(sample, self.ignored, len(self.class_names))
            if place == len(self.batch):
                self.batch.append(_Pixels(sample.metainfo, truth, label))
            pixels = self.batch[place]
            self.analysis.decisions[name].update(label, confidence, right, truth, pixels.first)
            if name == "vote":
                pixels.vote = label
            elif name in self.analysis.output_names:
                pixels.labels.append(label.to(torch.int16))
                pixels.confidences.append(confidence)

    def _elect(self, pixels: "_Pixels") -> None:
        labels = torch.stack(pixels.labels)
        winner = winning_output(labels, torch.stack(pixels.confidences))
        self.analysis.election.update(labels, winner, pixels.vote, pixels.truth)
        known = pixels.truth != NONE
        right, was_right = pixels.vote == pixels.truth, pixels.first == pixels.truth
        fixed, broken = known & right & ~was_right, known & ~right & was_right
        self.analysis.gallery.offer(
            int(fixed.sum()), int(broken.sum()), lambda: pixels.describe(fixed, broken, self.class_names)
        )


class _Pixels:
    """The decisions on one image while its test modes run, flattened to (P,)."""

    def __init__(self, metainfo: dict, truth: Tensor, first: Tensor):
        self.metainfo, self.truth, self.first = metainfo, truth, first
        self.vote = first
        self.labels: list[Tensor] = []
        self.confidences: list[Tensor] = []

    def describe(self, fixed: Tensor, broken: Tensor, class_names: list[str]) -> dict:
        """For the gallery; ``maps`` are small uint8 arrays, 255 where there is no class."""
        height, width = self.metainfo["ori_shape"][:2]
        step = -(-max(height, width) // SHOWN_SIDE)
        maps = {"out1": self.first, "vote": self.vote, "truth": self.truth}
        return {
            "image": self.metainfo.get("img_path"),
            "height": height,
            "width": width,
            "maps": {name: labels.view(height, width)[::step, ::step].to(torch.uint8).cpu().numpy()
                     for name, labels in maps.items()},
            "changes": self._changes(fixed, "fixed", class_names, width)
            + self._changes(broken, "broken", class_names, width),
        }  # fmt: skip

    def _changes(self, chosen: Tensor, kind: str, class_names: list[str], width: int) -> list[dict]:
        """The most frequent (label before, label after) of the chosen pixels, with the box around them."""
        places = chosen.nonzero()[:, 0]
        pairs, kinds, counts = torch.stack([self.first[places], self.vote[places]]).unique(
            dim=1, return_inverse=True, return_counts=True
        )
        found = []
        for index in counts.argsort(descending=True, stable=True)[:SHOWN_CHANGES].tolist():
            before, after = pairs[:, index].tolist()
            mine = places[kinds == index]
            y, x = mine // width, mine % width
            found.append({
                "kind": kind, "before": class_names[before], "after": class_names[after], "pixels": len(mine),
                "box": [int(x.min()), int(y.min()), int(x.max()) + 1, int(y.max()) + 1],
            })  # fmt: skip
        return found


def _decided(sample: SegDataSample, ignored: int, num_classes: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Label, its probability, the true label's probability and the true label or NONE of every pixel, each (P,)."""
    scores, label = sample.seg_logits.data, sample.pred_sem_seg.data.long()
    truth = sample.gt_sem_seg.data.to(label.device).long()
    truth = torch.where((truth == ignored) | (truth < 0) | (truth >= num_classes), NONE, truth)
    confidence, right = label_probability(scores, label), label_probability(scores, truth.clamp(min=0))
    return label.flatten(), confidence.flatten(), right.flatten(), truth.flatten()


def _also(note, name: str, process):
    """An evaluator's ``process`` that shows the samples to ``note`` first: later they are dicts of all test modes."""

    def both(data_samples, data_batch=None):
        note(name, data_samples)
        return process(data_samples=data_samples, data_batch=data_batch)

    return both
