"""A tiny PSPNet whose outputs disagree, for tests of what happens around the head."""

import torch
from mmengine import ConfigDict
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

import ffc_dense.segmentation  # noqa: F401  (registers the heads)
from ffc_dense.method.reductions import ffc_layers
from ffc_dense.segmentation.model.opinions import last_head

N, K = 2, 5
SIZE = (32, 48)
SLIDE = dict(mode="slide", crop_size=(32, 32), stride=(16, 16))
BACKBONE = dict(type="ResNetV1c", depth=18, stem_channels=8, base_channels=4, dilations=(1, 1, 2, 4),
                strides=(1, 2, 1, 1), norm_eval=False)  # fmt: skip


def config(segmentor="EncoderDecoder", head="FFCPSPHead", mode=None, preprocessor=None, **options):
    """An ``EncoderDecoder``, or a cascade whose last head is ``FFCOCRHead``; ``options`` are the last head's."""
    common = dict(num_classes=K, norm_cfg=dict(type="BN"), align_corners=True, in_channels=32, in_index=3, channels=8)
    heads = dict(common, type=head, **{"pool_scales": (1, 2), **options})
    cascade = {}
    if "Cascade" in segmentor:
        heads = [dict(common, type="FCNHead", num_convs=1), dict(common, type="FFCOCRHead", ocr_channels=4, **options)]
        cascade = dict(num_stages=2)
    if preprocessor is not None:
        cascade["data_preprocessor"] = dict(type="SegDataPreProcessor", **preprocessor)
    test_cfg = ConfigDict(mode or dict(mode="whole"))
    return dict(type=segmentor, backbone=BACKBONE, decode_head=heads, test_cfg=test_cfg, **cascade)


@torch.no_grad()
def disagreeing(model, seed=3):
    """Weights as if from training: with the initial ones the outputs hardly disagree."""
    torch.manual_seed(seed)
    last_head(model).conv_seg.weight.normal_()
    for layer in ffc_layers(model):
        for norm in layer.filters:
            norm.weight.normal_(1, 0.7)
            norm.bias.normal_(0, 0.7)
    return model.eval()


def build(*arguments, seed=0, wrap=lambda model: model, **options):
    torch.manual_seed(seed)
    return disagreeing(MODELS.build(wrap(config(*arguments, **options))), seed + 3)


def images(n=N, size=SIZE):
    torch.manual_seed(1)
    return torch.randn(n, 3, *size)


def samples(n=N, size=SIZE, **meta):
    metas = {**dict(ori_shape=size, img_shape=size, pad_shape=size), **meta}
    return [SegDataSample(metainfo=metas) for _ in range(n)]
