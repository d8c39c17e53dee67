"""Pictures of detections, with what the outputs voted for. Images are (H, W, 3) uint8, BGR."""

from collections import Counter

import numpy as np
from detectron2.data import Metadata
from detectron2.structures import Instances
from detectron2.utils.visualizer import Visualizer
from matplotlib.patheffects import withStroke

from ...pictures.panels import with_lines
from ...pictures.scale import readable_scale

# Okabe and Ito's palette without black, which colour-blind readers distinguish too. RGB in [0, 1].
COLORS = [
    tuple(int(code[i : i + 2], 16) / 255 for i in (0, 2, 4))
    for code in ("E69F00", "56B4E9", "009E73", "F0E442", "0072B2", "D55E00", "CC79A7")
]
UNCHOSEN = (0.85, 0.85, 0.85)
HALO = 0.4  # points per unit of scale: a dark edge of lines, which are seen on any ground then
STYLES = {"-": "most outputs (solid)", "--": "half or fewer (dashed)", ":": "none (grey, dotted)"}
Rectangle = tuple[float, float, float, float]  # left, top, right, bottom, in pixels of the image


def labels(instances: Instances, metadata: Metadata) -> list[str]:
    """'cat 97%', and with votes 'cat 97% 5/7': five of the seven outputs chose the detection's class."""
    names = [metadata.thing_classes[label] for label in instances.pred_classes.tolist()]
    found = [f"{name} {score:.0%}" for name, score in zip(names, instances.scores.tolist(), strict=True)]
    if not instances.has("class_votes"):
        return found
    votes = zip(instances.class_votes.tolist(), instances.num_outputs.tolist(), strict=True)
    return [f"{label} {chose}/{outputs}" for label, (chose, outputs) in zip(found, votes, strict=True)]


def summary(instances: Instances, metadata: Metadata) -> list[str]:
    """One line: how many boxes of which class; with votes a second one: how the outputs voted for them."""
    names = Counter(metadata.thing_classes[label] for label in instances.pred_classes.tolist())
    listed = ", ".join(f"{count} x {name}" for name, count in names.most_common())
    lines = [f"{len(instances)} box{'es' * (len(instances) != 1)}" + (f": {listed}" if listed else "")]
    if instances.has("class_votes"):
        counts = Counter(_styles(instances))
        votes = ", ".join(f"{counts[style]} by {text}" for style, text in STYLES.items())
        lines.append(f"class chosen: {votes}")
    return lines


def _styles(instances: Instances) -> list[str]:
    """The line of each box: one of STYLES."""
    if not instances.has("class_votes"):
        return ["-"] * len(instances)
    votes = zip(instances.class_votes.tolist(), instances.num_outputs.tolist(), strict=True)
    return ["-" if 2 * chose > outputs else "--" if chose else ":" for chose, outputs in votes]


def draw(
    image: np.ndarray, instances: Instances, metadata: Metadata, scale: float | None = None, summarised: bool = True
) -> np.ndarray:
    """The image with its detections, by detectron2's Visualizer, in a colour for each class.

    With votes (``opinions`` of the detector), the line of a box shows how many outputs chose its class, see STYLES: a
    box whose class no output chose is grey and dotted.

    Args:
        image: (H, W, 3) uint8, BGR.
        scale: of the picture, above 0; by default that of :func:`readable_scale`.
        summarised: write :func:`summary` below the picture.

    Returns:
        (H', W', 3) uint8, BGR.
    """
    scale = readable_scale(*image.shape[:2]) if scale is None else scale
    visualizer = Visualizer(image[:, :, ::-1], metadata, scale=scale)
    styles = _styles(instances)
    colors = [COLORS[label % len(COLORS)] for label in instances.pred_classes.tolist()]
    colors = [UNCHOSEN if style == ":" else color for style, color in zip(styles, colors, strict=True)]
    visualizer.overlay_instances(
        masks=instances.pred_masks if instances.has("pred_masks") else None,
        keypoints=instances.pred_keypoints if instances.has("pred_keypoints") else None,
        assigned_colors=colors,
    )
    draw_boxes(visualizer, instances.pred_boxes.tensor.tolist(), labels(instances, metadata), colors, styles)
    picture = np.ascontiguousarray(visualizer.output.get_image()[:, :, ::-1])
    return with_lines(picture, summary(instances, metadata)) if summarised else picture


def draw_boxes(
    visualizer: Visualizer, boxes: list[list[float]], texts: list[str], colors: list[tuple], styles: list[str]
) -> None:
    """Boxes (x0, y0, x1, y1) with a label and a matplotlib line style each; the first label has the best place."""
    scale = visualizer.output.scale
    for box, color, style in zip(boxes, colors, styles, strict=True):
        visualizer.draw_box(box, alpha=1, edge_color=color, line_style=style)
        patch = visualizer.output.ax.patches[-1]
        patch.set_path_effects([withStroke(linewidth=patch.get_linewidth() + HALO * scale, foreground="black")])
    taken: list[Rectangle] = []
    for text, box, color in zip(texts, boxes, colors, strict=True):
        if text:
            _draw_label(visualizer, text, box, color, taken)


def _draw_label(visualizer: Visualizer, label: str, box: list[float], color: tuple, taken: list[Rectangle]) -> None:
    """Beside the box, where it covers no label in ``taken``; the highest score comes first and has the best place."""
    output = visualizer.output
    size = max(11.0, 0.012 * output.scale * max(output.width, output.height))  # points
    light = tuple(0.5 + channel / 2 for channel in color)  # on the label's black ground
    visualizer.draw_text(label, (0, 0), font_size=size / output.scale, color=light, horizontal_alignment="left")
    text = output.ax.texts[-1]
    renderer = output.canvas.get_renderer()
    text.update_bbox_position_size(renderer)
    ground, letters = text.get_bbox_patch().get_window_extent(renderer), text.get_window_extent(renderer)
    width, height = ground.width / output.scale, ground.height / output.scale
    pad = (ground.height - letters.height) / 2 / output.scale
    x0, y0, x1, y1 = box
    corners = [(x0, y0 - height), (x0, y1), (x1, y0), (x0 - width, y0), (x1, y1 - height), (x0, y0)]
    corners += [(x0, y1 + i * height) for i in range(1, 5)]
    places = []
    for x, y in corners:
        x = min(max(x, 0.0), max(0.0, output.width - width))
        y = min(max(y, 0.0), max(0.0, output.height - height))
        places.append((x, y, x + width, y + height))
    place = min(places, key=lambda place: sum(_overlap(place, other) for other in taken))
    taken.append(place)
    text.set_position((place[0] + pad, place[1] + pad))


def _overlap(one: Rectangle, other: Rectangle) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, width) * max(0.0, height)
