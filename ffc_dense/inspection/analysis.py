"""Table 1 of the paper for a dense predictor: all statistics of a pass over a dataset, and the report of them.

Shape shorthand: P decisions of an image, M outputs, n filters, C features.
"""

import math

from torch import nn

from ..method.reductions import STOCK, ffc_layers
from .activity import Activity, output_features
from .calibration import BINS
from .decisions import Decisions, Election
from .gallery import Gallery


class Analysis:
    """Statistics of a classifier's outputs, its mean and its vote over a stream of images.

    Its size does not depend on the number of images. A stock classifier has one output, named 'stock'.

    Args:
        layer: the classifier: FFCLinear, FFCConv2d, nn.Linear or a 1x1 nn.Conv2d.
        gallery: how many images with most fixed, and how many with most broken decisions are kept.
        bins: of the calibration.
    """

    def __init__(self, layer: nn.Module, gallery: int = 8, bins: int = BINS):
        self.is_ffc = bool(ffc_layers(layer))
        self.num_outputs = layer.num_outputs if self.is_ffc else 1
        self.num_features = layer.weight.shape[1]
        self.bins = bins
        self.features = output_features(layer.num_filters, layer.interpolate) if self.is_ffc else ["F0"]
        self.output_names = [f"out{i + 1}" for i in range(self.num_outputs)] if self.is_ffc else [STOCK]
        self.names = self.output_names + ["mean", "vote"] * self.is_ffc
        self.activity = Activity(self.num_outputs)
        self.decisions = {name: Decisions(bins) for name in self.names}
        self.election = Election(self.num_outputs)
        self.gallery = Gallery(gallery)
        self.images = 0

    def report(self, metric: str, scores: dict[str, dict[str, float]]) -> dict:
        """Everything, ready for JSON.

        Args:
            metric: 'AP' or 'mIoU'.
            scores: per name in ``names`` the evaluator's scores in percent, ``metric`` and one per class as
                'class.NAME'; None or left out where the evaluator found none.
        """
        units, won = self.activity.means(), self.election.won_shares()
        rows = []
        for place, name in enumerate(self.names):
            single = place < self.num_outputs
            rows.append({
                "name": name,
                "feature": self.features[place] if single else None,
                "active_units": units[place] if single else None,
                metric: scores.get(name, {}).get(metric),
                "won": won[place] if single and self.is_ffc else None,
                **self.decisions[name].summary(),
            })  # fmt: skip
        stages = [row for row in rows if row["feature"] in {f"F{i}" for i in range(self.num_outputs)}]
        return {
            "metric": metric,
            "images": self.images,
            "decisions": rows[0]["decisions"],
            "labelled": rows[0]["labelled"],
            "bins": self.bins,
            "features": self.num_features,
            "outputs": rows,
            "stages": [{"name": row["feature"], "active_units": row["active_units"]} for row in stages],
            "agreement": self.election.agreement() if self.is_ffc else [],
            "class_gain": self._class_gain(scores),
            **({"class_scores": _class_scores(scores[STOCK])} if STOCK in scores else {}),  # for the gain of FFC
            "gallery": self.gallery.entries(),
        }

    def _class_gain(self, scores: dict[str, dict[str, float]]) -> list[dict]:
        """Per class with a score under both: Out1's, the vote's and the difference, largest gain first."""
        if not self.is_ffc:
            return []
        first, vote = scores.get("out1", {}), scores.get("vote", {})
        found = [
            {"class": key.removeprefix("class."), "out1": first[key], "vote": vote[key], "gain": vote[key] - first[key]}
            for key in first
            if key.startswith("class.") and first[key] is not None and vote.get(key) is not None
        ]
        return sorted(found, key=lambda row: -row["gain"])


def _class_scores(scores: dict[str, float]) -> dict[str, float]:
    """{class: score in percent}, of the classes that have one."""
    found = {key.removeprefix("class."): score for key, score in scores.items() if key.startswith("class.")}
    return {name: score for name, score in found.items() if score is not None and not math.isnan(score)}
