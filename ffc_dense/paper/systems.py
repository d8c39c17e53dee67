"""The paper's Tables 4 and 5, and the configs that follow their protocols."""

from dataclasses import dataclass

from ..frameworks import DETECTRON2, MMSEG, Framework


@dataclass(frozen=True)
class System:
    """A row of the paper's tables: the stock model and the same with FFC (vote)."""

    table: int
    title: str
    framework: Framework
    config: str  # stem of the stock config
    iterations: int  # of that config: a shorter run is no such row
    stock: dict[str, float]
    ffc: dict[str, float]


SYSTEMS = (
    System(4, "Faster R-CNN, ResNet-50", DETECTRON2, "faster_rcnn_R_50_C4_paper", 490_000,
           dict(AP50=46.3, AP75=28.0, AP=27.1), dict(AP50=47.1, AP75=28.6, AP=27.7)),
    System(4, "Faster R-CNN, ResNet-101", DETECTRON2, "faster_rcnn_R_101_C4_paper", 490_000,
           dict(AP50=48.4, AP75=30.7, AP=29.1), dict(AP50=49.1, AP75=31.4, AP=29.5)),
    System(5, "PSPNet, ResNet-101", MMSEG, "pspnet_r101-d8_4xb2-40k_cityscapes-769x769_toolbox", 40_000,
           dict(mIoU=78.3), dict(mIoU=78.8)),
    System(5, "DeepLabV3, ResNet-101", MMSEG, "deeplabv3_r101-d8_4xb2-40k_cityscapes-769x769_toolbox", 40_000,
           dict(mIoU=78.9), dict(mIoU=79.3)),
)  # fmt: skip
# "ResNet-101" of Table 5 is inferred: the paper names the code that it used, whose published models have it.


def stock_name(config: str) -> str:
    """faster_rcnn_X_ffc -> faster_rcnn_X; pspnet-ffc_X -> pspnet_X; stock names stay."""
    return config.removesuffix("_ffc").replace("-ffc_", "_")


def system_of(config: str) -> System | None:
    """The paper's row that a config, stock or FFC, is made for."""
    return next((system for system in SYSTEMS if system.config == stock_name(config)), None)
