"""FFC's keys of a detectron2 config."""

from detectron2.config import CfgNode

from ...method.options import OPTIONS

FFC = "MODEL.ROI_BOX_HEAD.FFC"


def key_of(option: str) -> str:
    """The key, below ``FFC``, of an option of the layer: num_filters -> NUM_FILTERS."""
    return option.upper()


def add_ffc_config(cfg: CfgNode) -> None:
    """Add the keys of the FFC box classifier, and of :class:`.training.ReliableTrainer`, to ``cfg``.

    Keys that are there already keep their values.
    """
    head = cfg.MODEL.ROI_BOX_HEAD
    if "FFC" not in head:
        head.FFC = CfgNode()
    for name, option in OPTIONS.items():
        head.FFC[key_of(name)] = head.FFC.get(key_of(name), option.default)
    # Whether detections carry the class distribution, the votes and the winning output of their box, see
    # FFCFastRCNNOutputLayers.inference. The detections themselves stay the same.
    head.FFC.OPINIONS = head.FFC.get("OPINIONS", False)
    # Iterations between two looks at the outputs' accuracy and the stages' active units while training; 0 for none.
    head.FFC.SCALARS_PERIOD = head.FFC.get("SCALARS_PERIOD", 100)

    solver = cfg.SOLVER
    # How many checkpoints model_XXXXXXX.pth are kept, the newest ones. 0 keeps all, as detectron2 does.
    solver.CHECKPOINT_MAX_TO_KEEP = solver.get("CHECKPOINT_MAX_TO_KEEP", 0)
    if "NON_FINITE_LOSS" not in solver:
        solver.NON_FINITE_LOSS = CfgNode()
    # What a loss of NaN or infinity does: "stop" the training, "skip" the update, or "ignore": nothing is looked at.
    solver.NON_FINITE_LOSS.ACTION = solver.NON_FINITE_LOSS.get("ACTION", "stop")
    # With "skip": so many iterations in a row are skipped; one more stops the training.
    solver.NON_FINITE_LOSS.MAX_CONSECUTIVE = solver.NON_FINITE_LOSS.get("MAX_CONSECUTIVE", 10)
