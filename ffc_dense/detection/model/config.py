from detectron2.config import CfgNode


def add_ffc_config(cfg: CfgNode) -> None:
    """Add the keys of the FFC box classifier, and of :class:`.training.ReliableTrainer`, to ``cfg``.

    Keys that are there already keep their values.
    """
    head = cfg.MODEL.ROI_BOX_HEAD
    if "FFC" not in head:
        head.FFC = CfgNode()
    # Length of the LayerNorm + ReLU chain. 0 is the stock classifier.
    head.FFC.NUM_FILTERS = head.FFC.get("NUM_FILTERS", 3)
    # Classify the averages of neighbouring stages too: 7 outputs (the paper) instead of 4 (the authors' code).
    head.FFC.INTERPOLATE = head.FFC.get("INTERPOLATE", True)
    # How the outputs become one at test time: "vote" (the paper), "mean" (the authors' code), or a single
    # output, "out1" ... "out7" (the rows of the paper's Table 1).
    head.FFC.TEST_REDUCE = head.FFC.get("TEST_REDUCE", "vote")
    # A LayerNorm of its own before the chain, so that F_0 is normalised too. Not in the paper, see docs/EVIDENCE.md.
    # With NUM_FILTERS 0 it is the control of every comparison, one LayerNorm before the stock classifier.
    head.FFC.NORMALIZE_INPUT = head.FFC.get("NORMALIZE_INPUT", False)
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
