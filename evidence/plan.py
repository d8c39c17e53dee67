"""The runs, the most valuable first: a report can be made at any time from the runs that are done."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from .variants import Variant

# Raise a task's number with every change of the code that changes its results: its earlier runs are then repeated.
PROTOCOL = {"detection": 2, "pspnet": 1, "deeplabv3": 1, "classification": 1}
# EVIDENCE_QUICK=1: a few iterations on a few images; it tests the tool and measures nothing.
QUICK = os.environ.get("EVIDENCE_QUICK") == "1"

SEEDS = (1, 2) if QUICK else (1, 2, 3, 4, 5)
# Iterations. The main tables use the longest schedule, the ablations the one before it.
SCHEDULES = {"detection": (300, 600, 1200), "pspnet": (800, 2400), "deeplabv3": (1600,), "classification": (504, 1008)}
BEYOND = {"detection": 2400}  # longer still, for the main heads and three seeds: does the gap close?
if QUICK:
    SCHEDULES, BEYOND = dict.fromkeys(SCHEDULES, (4, 8)), {}
TRAIN_IMAGES, TEST_IMAGES, HELD_OUT_IMAGES = (8, 8, 8) if QUICK else (800, 200, 100)
PER_CLASS = (2, 2, 1) if QUICK else (200, 100, 50)  # per class, in classification


@dataclass(frozen=True)
class Head:
    """A classifier and how it is trained.

    Attributes:
        title: part of :attr:`Run.key`: with other words recorded runs would not be recognised.
        variant: None for the framework's own head.
        classifier_lr: factor on the learning rate of the classifier's weight and bias.
        classifier_init: factor on their initial values; only in detection.
        filter_decay: weight decay of FFC's LayerNorms; None: detectron2's default, which is none. Only in detection:
            mmseg decays them like every weight.
        shown: the words for tables and pictures, where ``title`` is not clear enough.
    """

    title: str
    variant: Variant | None = field(default_factory=Variant)
    classifier_lr: float = 1.0
    classifier_init: float = 1.0
    filter_decay: float | None = None
    shown: str = field(default="", repr=False)  # no part of Run.key

    @property
    def label(self) -> str:
        """The head's name in tables and pictures."""
        return self.shown or self.title


HEADS = {
    "stock": Head("stock classifier", None),
    "ffc": Head("FFC"),
    "ln": Head("one LayerNorm, stock classifier", Variant(0, normalize_input=True)),
    "ln_relu": Head("LayerNorm + ReLU, stock classifier", Variant(1, classify_input=False)),
    # Larger steps without a normalisation
    "stock_lr10": Head("stock, classifier's learning rate x 10", None, classifier_lr=10),
    "stock_init10": Head("stock, classifier's initial weights x 10", None, classifier_init=10),
    "stock_lr10_init10": Head(
        "stock, both of these x 10", None, 10, 10, shown="stock, classifier's rate and initial weights x 10"
    ),
    "stock_scale10": Head("stock, feature x 10", Variant(0, input_scale=10)),
    # Ablations of FFC
    "ffc_n1": Head("FFC, 1 filter", Variant(1)),
    "ffc_n2": Head("FFC, 2 filters", Variant(2)),
    "ffc_n4": Head("FFC, 4 filters", Variant(4)),
    "ffc_n5": Head("FFC, 5 filters", Variant(5)),
    "ffc_four": Head(
        "FFC, 4 outputs in the place of 7", Variant(interpolate=False), shown="FFC, 4 outputs instead of 7"
    ),
    "ffc_decay": Head("FFC, LayerNorm with weight decay", filter_decay=1e-4),
    "ffc_no_affine": Head(
        "FFC, LayerNorm without affine", Variant(affine=False), shown="FFC, LayerNorm without affine parameters"
    ),
    "ffc_before_dropout": Head("FFC, filters before the dropout", Variant(before_dropout=True)),
    # Variants of FFC that might be better than one LayerNorm
    "ffc_normal_input": Head("FFC, F0 normalised too", Variant(normalize_input=True)),
    "ffc_later": Head("FFC, without F0", Variant(classify_input=False)),
    "ffc_residual": Head("FFC, residual stages", Variant(residual=True)),
    "ffc_open_end": Head("FFC, no ReLU at the last stage", Variant(last_relu=False)),
    "ffc_stage_bias": Head("FFC, a bias for each stage", Variant(stage_bias=True)),
    "ffc_stage_scale": Head("FFC, a scale for each stage", Variant(stage_scale=True)),
    "ffc_every_output": Head("FFC, a loss on every output", Variant(every_output=True)),
    "ffc_normal_every": Head(
        "FFC, F0 normalised too, a loss on every output", Variant(normalize_input=True, every_output=True)
    ),
}

MAIN = ("stock", "ffc", "ln")
# The control of the learning rate: in classification each main head has its own search for the classifier's rate.
RATES = (0.3, 1, 3, 10)


def with_rate(head: str, rate: float) -> str:
    """The key in HEADS of a main head whose classifier has ``rate`` times the learning rate."""
    return head if rate == 1 else f"{head}_lr{rate:g}"


for _head in MAIN:
    for _rate in RATES:
        _title = f"{HEADS[_head].title}, classifier's learning rate x {_rate:g}"
        HEADS.setdefault(with_rate(_head, _rate), replace(HEADS[_head], title=_title, classifier_lr=_rate))
# In PSPNet it learns as fast as one LayerNorm: does it end as high?
CONTROLS = ("stock_lr10",)
# Which part of FFC gains or costs how much
PARTS_OF_FFC = ("ln_relu", "ffc_later", "ffc_normal_input", "ffc_every_output", "ffc_normal_every")
PARTS_OF_CLASSIFIER = ("ffc_four", "ln_relu")
ABLATIONS = {
    "detection": (
        "ffc_residual", "ffc_open_end", "ffc_stage_bias", "ffc_stage_scale", "stock_lr10", "stock_init10",
        "stock_lr10_init10", "stock_scale10", "ffc_n1", "ffc_n2", "ffc_n4", "ffc_n5", "ffc_four", "ffc_decay",
        "ffc_no_affine",
    ),
    "pspnet": ("ffc_before_dropout", "ffc_n1", "ffc_four", "ffc_no_affine", "stock_lr10"),
}  # fmt: skip
SHORTER = (*ABLATIONS, "classification")  # tasks whose main heads also have shorter schedules
# In detection's ablations each is above one LayerNorm, but not after Holm's correction. Also at the end?
CANDIDATES = ("ffc_residual", "ffc_n2", "ffc_four", "ffc_decay")


@dataclass(frozen=True)
class Run:
    """One training: ``task`` is a key of SCHEDULES, ``head`` one of HEADS."""

    task: str
    head: str
    iterations: int
    seed: int

    @property
    def name(self) -> str:
        return f"{self.task}/{self.head}/{self.iterations}/seed{self.seed}"

    @property
    def key(self) -> str:
        """A hash of the run's settings, apart from the code; a result with another key belongs to other settings."""
        images = PER_CLASS if self.task == "classification" else (TRAIN_IMAGES, TEST_IMAGES, HELD_OUT_IMAGES)
        settings = (self, HEADS[self.head], *images, PROTOCOL[self.task])
        return hashlib.sha256(repr(settings).encode()).hexdigest()[:12]

    @property
    def interpolates(self) -> bool:
        """Whether the averages of neighbouring stages are outputs as well."""
        variant = HEADS[self.head].variant
        return variant is not None and variant.interpolate

    @property
    def is_main(self) -> bool:
        """Whether it is a main head at the longest schedule, with a learning curve and logits that are kept."""
        return self.iterations == SCHEDULES[self.task][-1] and self.head in MAIN


def runs() -> Iterator[Run]:
    """All runs, one seed after another, so that all comparisons have about the same number of pairs."""
    if QUICK:
        for task in ("detection", "pspnet", "classification"):
            yield from _each(task, ("stock", "ffc"), -1)
        return
    few = SEEDS[:3]
    yield from _each("pspnet", MAIN, -1, SEEDS[:1])
    yield from _each("detection", MAIN, -1)
    yield from _each("detection", (*MAIN, *PARTS_OF_FFC), -2, few)
    yield from _each("pspnet", MAIN, -1, SEEDS[1:])
    yield from _each("detection", PARTS_OF_FFC, -1)
    yield from _each("pspnet", MAIN, -2)
    yield from _each("deeplabv3", MAIN, -1)
    yield from _each("pspnet", PARTS_OF_FFC, -2, few)
    yield from (Run("detection", head, BEYOND["detection"], seed) for seed in few for head in MAIN)
    yield from _each("detection", ABLATIONS["detection"], -2, few)
    yield from _each("pspnet", ABLATIONS["pspnet"], -2, few)
    yield from _each("detection", MAIN, -3, few)
    yield from _each("detection", CANDIDATES, -1)
    yield from _each("pspnet", CONTROLS, -1)
    yield from _each("classification", MAIN, -1)
    yield from _each("classification", PARTS_OF_CLASSIFIER, -1)
    yield from _each("classification", [with_rate(head, rate) for rate in RATES if rate != 1 for head in MAIN], -1)
    yield from _each("classification", MAIN, -2)


def _each(task: str, heads: Sequence[str], schedule: int, seeds: tuple[int, ...] = SEEDS) -> Iterator[Run]:
    for seed in seeds:
        for head in heads:
            yield Run(task, head, SCHEDULES[task][schedule], seed)


PLAN = tuple(runs())
