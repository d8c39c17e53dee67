"""mIoU of a segmentor's dumped logits under every test mode, by mmseg's IoUMetric.

Shape shorthand: S stages, M outputs, K classes, (h, w) the feature's size, (H, W) the image's.
"""

from collections.abc import Callable

from mmengine.logging import MMLogger
from mmseg.datasets import CityscapesDataset
from mmseg.evaluation import IoUMetric
from mmseg.models.utils import resize
from torch import Tensor

from ffc_dense.method.voting import elect
from ffc_dense.segmentation.model.upsampled_vote import vote_once

from .outputs import outputs_of
from .plan import Run
from .selectors import CHOSEN

Labels = dict[str, Tensor]  # {test mode: (H, W)}


def upsampled(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """(S, K, h, w) -> (S, K, H, W), as mmseg's heads do."""
    return resize(logits, size, mode="bilinear", align_corners=False)


def labels_of(entry: dict, run: Run) -> Labels:
    size = entry["label"].shape
    # Averaging neighbours after upsampling gives the same result: both are linear.
    outputs = outputs_of(upsampled(entry["logits"], size), run)
    singles = {f"out{i + 1}": output.argmax(0) for i, output in enumerate(outputs)}
    if len(outputs) == 1:
        return singles
    small = outputs_of(entry["logits"], run)
    feature_vote = upsampled(vote_once(small.unsqueeze(1)), size)[0]
    return {
        "vote": elect(outputs, 1)[1],
        "mean": outputs.mean(0).argmax(0),
        "vote at feature size": feature_vote.argmax(0),
        **singles,
    }


def mean_iou(part: list[dict], labels: Callable[[dict], Labels]) -> dict[str, dict[str, float]]:
    """{test mode: {'mIoU'}} over the images of ``part``."""
    MMLogger.get_current_instance().setLevel("ERROR")
    metrics: dict[str, IoUMetric] = {}
    for entry in part:
        for name, label in labels(entry).items():
            if name not in metrics:
                metrics[name] = metric()
            metrics[name].process({}, [_sample(label, entry["label"])])
    return {name: {"mIoU": float(each.compute_metrics(each.results)["mIoU"])} for name, each in metrics.items()}


def metric() -> IoUMetric:
    found = IoUMetric(iou_metrics=["mIoU"])
    found.dataset_meta = CityscapesDataset.METAINFO
    return found


def _sample(label: Tensor, truth: Tensor) -> dict:
    return {"pred_sem_seg": {"data": label.unsqueeze(0)}, "gt_sem_seg": {"data": truth.long().unsqueeze(0)}}


def score(parts: dict[str, list[dict]], run: Run) -> dict[str, dict[str, float]]:
    return mean_iou(parts["test"], lambda entry: labels_of(entry, run))


def score_selected(run: Run, parts: dict[str, list[dict]], answer: Callable) -> dict:
    """The scores of the selectors.

    Args:
        answer: the labels of the feature's pixels -> the selectors' log-probabilities.
    """
    labels = {name: [_at_feature_size(entry) for entry in part] for name, part in parts.items()}
    answers = answer(labels)
    place = {id(entry): index for index, entry in enumerate(parts["test"])}

    def labels_of_selectors(entry: dict) -> Labels:
        size, small = entry["label"].shape, entry["logits"].shape[2:]
        found = {}
        for name, per_image in answers.items():
            logits = per_image[place[id(entry)]].T.unflatten(1, small).unsqueeze(0)
            found[name] = upsampled(logits, size)[0].argmax(0)
        return found

    found = mean_iou(parts["test"], labels_of_selectors)
    if len(parts["test"][0]["logits"]) > 1:
        test, heldout = (mean_iou(parts[name], lambda entry: labels_of(entry, run)) for name in ("test", "heldout"))
        singles = {name: scores["mIoU"] for name, scores in heldout.items() if name.startswith("out")}
        found[CHOSEN] = test[max(singles, key=singles.get)]
    return found


def _at_feature_size(entry: dict) -> Tensor:
    """(h * w,): the labels of the pixels at the centre of the feature's cells."""
    label, (height, width) = entry["label"], entry["logits"].shape[2:]
    assert label.shape[0] % height == label.shape[1] % width == 0
    rows, columns = label.shape[0] // height, label.shape[1] // width
    return label[rows // 2 :: rows, columns // 2 :: columns].flatten()
