"""The output folder: whose it is, whether it is complete, and how it becomes complete.

A marker file says that the folder was made here. It is written first with status 'in progress' and last with
status 'complete', so an interrupted run is recognised and redone. A folder without a marker is never touched.
"""

import json
import os
import shutil
from pathlib import Path

GENERATOR = "ffc_dense.minidata"
VERSION = 1  # raise it whenever the same seed gives different files
MARKER = "minidata.json"
PROVENANCE = "provenance.json"


class DatasetFolderError(RuntimeError):
    """The folder cannot be used; the message names it and says what to do."""


def check_parameters(num_train, num_val, seed):
    for name, value, least in (("num_train", num_train, 1), ("num_val", num_val, 1), ("seed", seed, 0)):
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}")


def write_json(path, value):
    """Write JSON in one step: a reader sees the old file or the new one, never half of it."""
    partial = Path(f"{path}.tmp")
    partial.write_text(json.dumps(value) + "\n", encoding="utf-8")
    os.replace(partial, path)


def _read_marker(root):
    """The marker as a dict, or None when there is none or it was not written here."""
    try:
        marker = json.loads((root / MARKER).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return marker if isinstance(marker, dict) and marker.get("generator") == GENERATOR else None


def _check_owner(root, layout, marker):
    if root.exists() and not root.is_dir():
        raise DatasetFolderError(f"{root} is not a folder; give another root")
    if marker is None:
        # A run stopped while it wrote its first marker leaves only the marker's partial file.
        if root.is_dir() and any(entry.name != f"{MARKER}.tmp" for entry in root.iterdir()):
            raise DatasetFolderError(
                f"{root} is not empty and has no {MARKER}, so it may be somebody's dataset; "
                "nothing was changed: give an empty or new folder, or move its content away"
            )
    elif marker.get("layout") != layout:
        raise DatasetFolderError(f"{root} holds the mini {marker.get('layout')} dataset; give {layout} its own folder")


def generate(root, layout, top_folders, parameters, count_images, write_split):
    """Bring `root` to the complete dataset for `parameters`, print one line, return `root` as a Path.

    top_folders: names of the folders the layout consists of; they are removed before a repeated generation.
    parameters: dict with num_train, num_val and seed; the numbers in the unit of count_images and write_split.
    count_images: function (root, split) -> number of images (or images per class) on disk.
    write_split: function (root, split, count, seed) -> (counts dict with "images", provenance list).
    """
    check_parameters(**parameters)
    root = Path(root)
    marker = _read_marker(root) if root.is_dir() else None
    _check_owner(root, layout, marker)
    identity = {"generator": GENERATOR, "version": VERSION, "layout": layout, "parameters": parameters}
    wanted = {"train": parameters["num_train"], "val": parameters["num_val"]}
    if marker is not None and marker == {**identity, "status": "complete", "counts": marker.get("counts")}:
        if all(count_images(root, split) == wanted[split] for split in wanted):
            print(f"mini {layout}: up to date in {root}")
            return root

    for name in (*top_folders, PROVENANCE):  # only what an earlier run of ours may have left
        path = root / name
        if path.is_symlink():
            raise DatasetFolderError(f"{path} is a symbolic link, which is never made here; remove it first")
    root.mkdir(parents=True, exist_ok=True)
    write_json(root / MARKER, {**identity, "status": "in progress"})
    for name in top_folders:
        if (root / name).exists():
            shutil.rmtree(root / name)
    counts, provenance = {}, {}
    for split, count in wanted.items():
        counts[split], provenance[split] = write_split(root, split, count, parameters["seed"])
    write_json(root / PROVENANCE, provenance)
    write_json(root / MARKER, {**identity, "status": "complete", "counts": counts})
    numbers = " and ".join(f"{counts[split]['images']} {split}" for split in wanted)
    print(f"mini {layout}: wrote {numbers} images to {root}")
    return root
