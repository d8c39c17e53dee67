"""Names in a config are checked for whatever meta architecture builds the part; FFC where there is none is refused."""

import pytest

pytest.importorskip("detectron2")

from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY, GeneralizedRCNN, build_backbone, build_roi_heads
from detectron2.modeling.proposal_generator import build_proposal_generator
from small_detector import small_cfg
from torch import nn

from ffc_dense.detection.inputs.architectures import builds
from ffc_dense.detection.inputs.config_checks import check_model
from ffc_dense.errors import UserError

FFC = "MODEL.ROI_BOX_HEAD.FFC"


@META_ARCH_REGISTRY.register()
class OwnDetectorForChecks(nn.Module):
    """No subclass of detectron2's, and its heads are built in a method of their own."""

    def __init__(self, cfg):
        super().__init__()
        self.backbone = build_backbone(cfg)
        self.heads = self.make_heads(cfg)

    def make_heads(self, cfg):
        return [build_roi_heads(cfg, self.backbone.output_shape()) for _ in range(1)]


@META_ARCH_REGISTRY.register()
class ExtendedDetectorForChecks(GeneralizedRCNN):
    @classmethod
    def from_config(cls, cfg):
        return {**super().from_config(cfg), "vis_period": 0}


@META_ARCH_REGISTRY.register()
class HeadlessDetectorForChecks(GeneralizedRCNN):
    """Replaces what its base builds."""

    @configurable
    def __init__(self, *, backbone, proposal_generator):
        nn.Module.__init__(self)
        self.backbone, self.proposal_generator = backbone, proposal_generator

    @classmethod
    def from_config(cls, cfg):
        backbone = build_backbone(cfg)
        return {
            "backbone": backbone,
            "proposal_generator": build_proposal_generator(cfg, backbone.output_shape()),
        }


WITH_HEADS = ["GeneralizedRCNN", "PanopticFPN", "OwnDetectorForChecks", "ExtendedDetectorForChecks"]
WITHOUT = ["RetinaNet", "ProposalNetwork", "SemanticSegmentor", "HeadlessDetectorForChecks"]


def refused(architecture, options, match):
    cfg = small_cfg("FFCStandardROIHeads", "MODEL.META_ARCHITECTURE", architecture, *options)
    with pytest.raises(UserError, match=match):
        check_model(cfg)


@pytest.mark.parametrize("architecture", WITH_HEADS)
def test_every_architecture_with_roi_heads_is_checked(architecture):
    check_model(small_cfg("FFCStandardROIHeads", "MODEL.META_ARCHITECTURE", architecture))
    name = "MODEL.ROI_HEADS.NAME"
    refused(architecture, [name, "FFCStandardROIHead"], f"{name}: .* did you mean FFCStandardROIHeads")
    refused(architecture, [f"{FFC}.TEST_REDUCE", "votes"], f"{FFC}.TEST_REDUCE .*did you mean 'vote'")
    refused(architecture, [name, "StandardROIHeads", f"{FFC}.NUM_FILTERS", 2], "has no effect, .* is a stock head")
    refused(architecture, ["MODEL.BACKBONE.NAME", "build_resnet"], "MODEL.BACKBONE.NAME")


@pytest.mark.parametrize("architecture", WITHOUT)
def test_ffc_in_a_model_without_roi_heads_is_refused(architecture):
    refused(architecture, [], f"FFCStandardROIHeads: has no effect, .* {architecture} has no ROI heads")
    stock = ["MODEL.ROI_HEADS.NAME", "StandardROIHeads"]
    refused(architecture, [*stock, f"{FFC}.NUM_FILTERS", 2], f"{FFC}.NUM_FILTERS: has no effect")
    # What an architecture does not build may have any name.
    check_model(small_cfg("StandardROIHeads", "MODEL.META_ARCHITECTURE", architecture, "MODEL.ROI_HEADS.NAME", "Own"))


@pytest.mark.parametrize(
    ("architecture", "key"),
    [
        ("PanopticFPN", "MODEL.SEM_SEG_HEAD.NAME"),
        ("SemanticSegmentor", "MODEL.SEM_SEG_HEAD.NAME"),
        ("RetinaNet", "MODEL.ANCHOR_GENERATOR.NAME"),
        ("ProposalNetwork", "MODEL.RPN.HEAD_NAME"),
        ("ProposalNetwork", "MODEL.PROPOSAL_GENERATOR.NAME"),
    ],
)
def test_the_other_parts_are_checked_where_they_are_built(architecture, key):
    heads = "FFCStandardROIHeads" if architecture in WITH_HEADS else "StandardROIHeads"
    refused(architecture, ["MODEL.ROI_HEADS.NAME", heads, key, "Misspelt"], f"{key}: nothing is registered")


def test_what_a_class_overrides_does_not_count():
    assert builds("HeadlessDetectorForChecks", "build_proposal_generator")
    assert not builds("HeadlessDetectorForChecks", "build_roi_heads")
