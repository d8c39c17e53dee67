"""The mini HMDB51 dataset: a handwritten digit on a plate that moves over a photograph in one of six ways.

Videos are XVID files as HMDB51's, the split files are real ones. The motion is made, not filmed. No action is the
mirror image of another one, since trainings mirror their clips.
"""

import numpy as np
from PIL import Image

from . import folder
from .drawing import digit_ink, make_plate
from .sources import PHOTOS, SPLITS, random_crop, random_digit

WIDTH, HEIGHT = 96, 72  # pixels
FRAMES = (16, 24)  # least and most of a video
PLATE_HEIGHT = (30.0, 40.0)  # pixels, before the tilt
ACTIONS = ("approach", "climb", "fall", "leave", "shake", "turn")
SPLITS_FOLDER = "testTrainMulti_7030_splits"
SUBSET_CODES = {"train": 1, "val": 2}  # of the split files; val is HMDB51's test
LAYOUT_CODE = 3  # part of the random seed


def make_mini_hmdb51(root, num_train=120, num_val=48, seed=0):
    """Write the mini HMDB51 dataset to `root` unless it is there already; return `root` as a Path.

    num_train, num_val: videos, spread evenly over the six actions. Identical arguments give identical frames for
    given library versions. Raises DatasetFolderError when `root` is a non-empty folder that was not made by this
    function.
    """
    parameters = {"num_train": num_train, "num_val": num_val, "seed": seed}
    top_folders = ("videos", SPLITS_FOLDER, "frames")
    return folder.generate(root, "hmdb51", top_folders, parameters, _count_videos, _write_split)


def make_video(split, index, seed):
    """Video number `index` of `split`: (frames uint8 (T, HEIGHT, WIDTH, 3) RGB, its action, provenance)."""
    rng = np.random.default_rng([seed, LAYOUT_CODE, SPLITS.index(split), index])
    action = ACTIONS[index % len(ACTIONS)]
    name = list(PHOTOS)[int(rng.integers(len(PHOTOS)))]
    crop, box = random_crop(rng, split, name, (160, 120))
    background = crop.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    ink, digit = random_digit(rng, split, int(rng.integers(10)))
    plate = make_plate(rng, rng.uniform(*PLATE_HEIGHT), lambda height: digit_ink(ink, height))
    length, speed = int(rng.integers(FRAMES[0], FRAMES[1] + 1)), rng.uniform(0.8, 1.2)
    centre = np.array([rng.uniform(0.35, 0.65) * WIDTH, HEIGHT / 2])
    frames = []
    for t in np.linspace(-0.5, 0.5, length):
        image = background.copy()
        _draw(image, plate, centre, action, t * speed)
        frames.append(np.asarray(image))
    return np.stack(frames), action, {"digits": [digit], "photos": [box]}


def _draw(image, plate, centre, action, t):
    """The plate at time t, about -0.5 to 0.5."""
    size, shift, angle = 1.0, np.zeros(2), 0.0
    if action == "climb":
        shift[1] = -40 * t
    elif action == "fall":
        shift[1] = 40 * t
    elif action == "shake":
        shift[0] = 12 * np.sin(12 * t)
    elif action == "turn":
        angle = 150 * t
    elif action == "approach":
        size = 1 + 0.9 * t
    elif action == "leave":
        size = 1 - 0.9 * t
    patch = Image.fromarray(plate.rgba)
    patch = patch.resize([max(2, round(side * size)) for side in patch.size], Image.Resampling.BICUBIC)
    if angle:
        patch = patch.rotate(angle, Image.Resampling.BICUBIC, expand=True)
    corner = np.round(centre + shift - np.array(patch.size) / 2).astype(int)
    image.paste(patch.convert("RGB"), tuple(int(v) for v in corner), mask=patch.getchannel("A"))


def _count_videos(root, split):
    """Videos of the split that are there and listed in the split files."""
    listed = 0
    for action in ACTIONS:
        path = root / SPLITS_FOLDER / f"{action}_test_split1.txt"
        lines = path.read_text().splitlines() if path.is_file() else []
        names = [line.rpartition(" ")[0] for line in lines if line.endswith(f" {SUBSET_CODES[split]}")]
        listed += sum((root / "videos" / action / name).is_file() for name in names)
    return listed


def _write_split(root, split, count, seed):
    provenance, lines = [], {action: [] for action in ACTIONS}
    (root / SPLITS_FOLDER).mkdir(exist_ok=True)
    for index in range(count):
        frames, action, origin = make_video(split, index, seed)
        name = f"{action}_{split}_{index:04d}.avi"
        (root / "videos" / action).mkdir(parents=True, exist_ok=True)
        _write_video(root / "videos" / action / name, frames)
        lines[action].append(f"{name} {SUBSET_CODES[split]}\n")
        provenance.append({"file": f"videos/{action}/{name}", **origin})
    for action, added in lines.items():
        for number in (1, 2, 3):  # the real splits differ; here they are one
            with open(root / SPLITS_FOLDER / f"{action}_test_split{number}.txt", "a") as file:
                file.writelines(added)
    return {"images": count}, provenance


def _write_video(path, frames):
    try:
        import cv2
    except ImportError as error:
        raise ImportError("minidata hmdb51 writes videos with OpenCV: pip install opencv-python") from error
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"XVID"), 25, (WIDTH, HEIGHT))
    if not writer.isOpened():
        raise OSError(f"{path}: OpenCV cannot write XVID here; install opencv-python")
    for frame in frames:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()
