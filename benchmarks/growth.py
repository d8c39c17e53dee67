"""How the time of one layer grows with C, K, positions and n: measurement and plot."""

import statistics
from functools import partial
from pathlib import Path

import torch

from ffc_dense import style

from .layers import iteration, layers
from .timing import interleave
from .works import FFC, LITERAL, PLAIN

TRAINING, TESTING = "forward + backward", "inference with vote"
STYLE = {  # colours of Okabe and Ito; markers and dashes distinguish the curves without colour
    PLAIN: dict(color="#000000", marker="^", linestyle=":"),
    LITERAL: dict(color=style.VERMILION, marker="s", linestyle="--"),
    FFC: dict(color=style.BLUE, marker="o", linestyle="-"),
}


def panels(quick: bool) -> dict[str, list[tuple]]:
    """{what grows: [(its value, shape of the feature, K, n)]}; everything else stays fixed."""
    if quick:
        return {
            "features C": [(c, (8, c), 5, 3) for c in (8, 16)],
            "classes K": [(k, (8, 16), k, 3) for k in (2, 5)],
            "positions of a map": [(4 * w, (1, 16, 4, w), 5, 3) for w in (4, 8)],
            "filters n": [(n, (8, 16), 5, n) for n in (0, 1)],
        }
    sizes = ((32, 32), (64, 64), (97, 97), (128, 256))
    return {
        "features C (1024 rows, K = 81, n = 3)": [(c, (1024, c), 81, 3) for c in (256, 512, 1024, 2048, 4096)],
        "classes K (1024 rows, C = 1024, n = 3)": [(k, (1024, 1024), k, 3) for k in (2, 19, 81, 365, 1203)],
        "positions of a map (C = 512, K = 19, n = 3)": [(h * w, (1, 512, h, w), 19, 3) for h, w in sizes],
        "filters n (1024 rows, C = 1024, K = 81)": [(n, (1024, 1024), 81, n) for n in range(7)],
    }


def measure(device: str, quick: bool) -> dict:
    """{panel: {'x': values, mode: {candidate: median seconds at each value}}}, fp32."""
    found = {}
    for panel, points in panels(quick).items():
        curves = {mode: {name: [] for name in STYLE} for mode in (TRAINING, TESTING)}
        for _, shape, classes, num_filters in points:
            for mode, call in ((TRAINING, _training), (TESTING, _testing)):
                modules = layers(shape, classes, torch.float32, device, num_filters)
                x = torch.randn(shape, device=device, requires_grad=mode == TRAINING)
                calls = {name: call(module, x) for name, module in modules.items()}
                for name, samples in interleave(calls, device, 0.5, 1 if quick else None).items():
                    curves[mode][name].append(statistics.median(samples))
        found[panel] = dict(x=[value for value, *_ in points], **curves)
    return found


def _training(layer, x):
    return iteration(layer.train(), x, torch.randn_like(layer(x)))


def _testing(layer, x):
    return torch.no_grad()(partial(layer.eval(), x))


def plot(growth: dict, title: str, path: Path) -> None:
    """Milliseconds over what grows: a column per panel, a row per mode; both axes are logarithmic except for n."""
    plt = style.pyplot()
    from matplotlib.ticker import FuncFormatter, NullFormatter

    figure, axes = plt.subplots(2, len(growth), figsize=(16, 8), sharey="row", sharex="col", layout="constrained")
    for column, (panel, curves) in zip(axes.T, growth.items(), strict=True):
        for axis, mode in zip(column, (TRAINING, TESTING), strict=True):
            for name, look in STYLE.items():
                milliseconds = [1000 * seconds for seconds in curves[mode][name]]
                axis.plot(curves["x"], milliseconds, label=name, markersize=6, linewidth=1.8, **look)
            axis.set_yscale("log")
            if "filters" not in panel:
                axis.set_xscale("log")
            axis.set_xticks(curves["x"], [f"{value:,}" for value in curves["x"]])
            axis.xaxis.set_minor_formatter(NullFormatter())
            axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.grid(True, which="major", color="#dddddd", linewidth=0.8)
        column[1].set_xlabel(panel.replace(" (", "\n("))
    for axis, mode in zip(axes[:, 0], (TRAINING, TESTING), strict=True):
        axis.set_ylabel(f"{mode}\nmilliseconds")
    figure.get_layout_engine().set(w_pad=0.12)
    figure.suptitle(title)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=len(STYLE))
    figure.savefig(path, dpi=80)
    plt.close(figure)
