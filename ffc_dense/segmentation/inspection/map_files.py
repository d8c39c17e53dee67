"""Maps of agreement and confidence as files: NumPy archives and greyscale PNGs."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from mmengine.evaluator import BaseMetric
from mmseg.registry import METRICS
from PIL import Image

from ...errors import UserError
from ...pictures.writing import write_result
from ..model.opinions import MAPS


def maps_of(sample: dict) -> dict[str, np.ndarray]:
    """A data sample, or its dict, -> ``label`` (uint8, or uint16 with more than 256 classes), ``confidence`` and, where
    outputs voted, ``agreement`` (fp32), each (H0, W0), and ``num_outputs``, an integer.

    Raises:
        KeyError: the sample has no confidence; the segmentor was built without ``opinions``.
    """
    if "confidence" not in sample:
        raise KeyError("the data sample has no confidence: build the segmentor with_opinions(config.model)")
    fields = sample if isinstance(sample, dict) else sample.to_dict()
    label = fields["pred_sem_seg"]["data"].reshape(fields["confidence"]["data"].shape)[0].cpu().numpy()
    maps = {"label": label.astype(np.uint8 if label.max(initial=0) < 256 else np.uint16)}
    maps |= {name: fields[name]["data"][0].cpu().numpy() for name in MAPS if name in fields}
    if "agreement" in fields:
        maps["num_outputs"] = np.int64(fields["agreement"]["num_outputs"])
    return maps


def write_maps(maps: dict[str, np.ndarray], stem: Path, argument: str = "--output") -> None:
    """Write what :func:`maps_of` gives into ``STEM.npz``, and ``STEM_confidence.png`` and ``STEM_agreement.png``.

    The PNGs are greyscale, 8 bits: 0 is 0, 255 is 1.

    Args:
        argument: the one that names the folder, for the message of an error.

    Raises:
        CannotWrite: a file cannot be written.
    """
    content = BytesIO()
    np.savez_compressed(content, **maps)
    write_result(content.getvalue(), Path(f"{stem}.npz"), argument)
    for name in MAPS:
        if name in maps:
            content = BytesIO()
            Image.fromarray((maps[name] * 255).round().astype(np.uint8)).save(content, "PNG")
            write_result(content.getvalue(), Path(f"{stem}_{name}.png"), argument)


@METRICS.register_module()
class MapWriter(BaseMetric):
    """Writes the maps of every image that is evaluated and scores nothing. The segmentor needs ``opinions``.

    Args:
        output_dir: files are ``OUTPUT_DIR/IMAGE.npz`` and so on, see :func:`write_maps`.
        **kwargs: those of ``BaseMetric``.

    Raises:
        UserError: two images of different folders have the same name.
    """

    def __init__(self, output_dir: str, **kwargs):
        super().__init__(**kwargs)
        self.output_dir = Path(output_dir)
        self.written: dict[str, str] = {}

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Write the maps of a batch."""
        for sample in data_samples:
            path = sample["img_path"]
            other = self.written.setdefault(Path(path).stem, path)
            if other != path:
                raise UserError(f"{path} and {other}: their maps would have the same name; evaluate folder by folder")
            write_maps(maps_of(sample), self.output_dir / Path(path).stem, "output_dir")
            self.results.append(None)

    def compute_metrics(self, results: list) -> dict[str, float]:
        """{}"""
        return {}
