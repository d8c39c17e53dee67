from detectron2.evaluation import COCOEvaluator
from detectron2.structures import Instances

from ..model.opinions import VOTE_FIELDS

DECIMALS = 6  # of a class probability: 80 classes at full length would be most of the file


class OpinionCOCOEvaluator(COCOEvaluator):
    """Identical to :class:`COCOEvaluator`, except that the detections in its files keep their votes.

    Each entry of ``coco_instances_results.json`` has further keys; those of COCO's format, and the scores, are as
    without. ``pred_class_probs``: a list, in the order of the dataset's category ids, the background last, rounded to
    6 decimals. ``vote_count``, ``class_votes``, ``winning_output``, ``winning_confidence``, ``num_outputs``: see
    :meth:`FFCFastRCNNOutputLayers.inference`. ``elected_category_id``: null for the background.

    ``process`` raises a ValueError for detections without votes.
    """

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        known = len(self._predictions)
        super().process(inputs, outputs)
        for prediction, output in zip(self._predictions[known:], outputs, strict=True):
            opinions = self._opinions(output["instances"].to(self._cpu_device))
            for entry, opinion in zip(prediction["instances"], opinions, strict=True):
                entry.update(opinion)

    def _opinions(self, instances: Instances) -> list[dict]:
        if not instances.has("pred_class_probs"):
            raise ValueError(
                "the detections have no votes: call ffc_dense.detection.request_opinions(cfg) before the model is "
                "built, or evaluate with COCOEvaluator"
            )
        probabilities = instances.pred_class_probs.double().tolist()
        columns = {"pred_class_probs": [[round(p, DECIMALS) for p in row] for row in probabilities]}
        for name in VOTE_FIELDS:
            if instances.has(name):
                columns[name] = instances.get(name).tolist()
        if "elected_class" in columns:
            category = self._category_ids()
            columns["elected_category_id"] = [category.get(label) for label in columns.pop("elected_class")]
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def _category_ids(self) -> dict[int, int]:
        """{class: the dataset's category id}"""
        classes = self._metadata.get("thing_dataset_id_to_contiguous_id")
        if classes is None:
            return {label: label for label in range(len(self._metadata.thing_classes))}
        return {label: category for category, label in classes.items()}
