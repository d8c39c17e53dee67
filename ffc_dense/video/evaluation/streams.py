"""Scores of one stream or of several, RGB, flow and MARS, that decide about a video together (paper Table 6).

Shape shorthand: B videos, K classes, S streams, each with M outputs that are averaged over a video's clips.
"""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from ...method.reductions import STOCK, choose_reductions
from ...method.voting import reduce_outputs, vote
from ..model.classifiers import VideoClassifier

TOPK = (1, 5)  # of Accuracy in the configs
RULES = {
    "mean": "the mean of the streams' mean logits (the rule of MARS)",
    "joint vote": "all outputs of all streams vote",
    "averaged, then voted": "output m of the streams is averaged for every m, then the averages vote",
}


@torch.no_grad()
def collect(model: VideoClassifier, loader: Iterable[dict]) -> Iterator[tuple[str, int, Tensor]]:
    """(name, label, outputs (M, K) fp32) of every video of a test data loader. ``model`` is in eval mode."""
    for batch in loader:
        data = model.data_preprocessor(batch, False)
        for clips, sample in zip(data["inputs"], data["data_samples"], strict=True):
            yield sample.video, int(sample.gt_label), model.outputs(clips).float().cpu()


def reductions_of(model: VideoClassifier, outputs: Tensor, wanted: list[str]) -> dict[str, Tensor]:
    """{test mode: logits (B, K)} of one stream's outputs (M, B, K).

    Raises:
        ValueError: ``wanted`` holds no test mode of the model, as ``choose_reductions`` says.
    """
    names = choose_reductions(model, wanted)
    return {name: outputs[0] if name == STOCK else reduce_outputs(outputs, name) for name in names}


def combined(streams: list[Tensor]) -> dict[str, Tensor]:
    """{rule of RULES: logits (B, K)} of S streams' outputs (M, B, K).

    The last rule needs streams with the same M; it is left out otherwise.
    """
    found = {
        "mean": torch.stack([outputs.mean(0) for outputs in streams]).mean(0),
        "joint vote": vote(torch.cat(streams), -1)[0],
    }
    if len({len(outputs) for outputs in streams}) == 1:
        found["averaged, then voted"] = vote(torch.stack(streams).mean(0), -1)[0]
    return found


def accuracies(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """{'accuracy/top1': percent, ...} of (B, K) logits; ``k`` larger than K is left out."""
    ranked = logits.argsort(dim=1, descending=True, stable=True)
    hits = (ranked == labels.unsqueeze(1)).float()
    return {f"accuracy/top{k}": 100 * hits[:, :k].sum(1).mean().item() for k in TOPK if k < logits.shape[1]}
