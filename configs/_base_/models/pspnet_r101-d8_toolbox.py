# PSPNet R101 of the toolbox whose baselines the paper's Table 5 has, speedinghzl/pytorch-segmentation-toolbox.
#
# Marks: F = read in the toolbox's source (branch master: networks/, utils/criterion.py, dataset/datasets.py, train.py,
# evaluate.py, run_local.sh), I = inferred, U = unknown. That the paper trained with it is I, and which of its branches
# is U: its branch pytorch-1.1 has plain BatchNorm and ReLU in the place of synchronised InPlaceABN and leaky ReLU.
#
# Where mmseg computes something else than the source:
# - InPlaceABN scales with |weight| + 1e-5, SyncBN with weight: equal while the weights are positive.
# - The source's auxiliary 3x3 convolution has a bias; before a normalisation it has no effect.
# - The source's max-pooling rounds sizes up, mmseg's down: equal at 769 x 769.
# - The heads start from mmseg's random initialisation, the source's from torch's default.
norm_cfg = dict(type="SyncBN", requires_grad=True)  # F: synchronised, eps 1e-5, momentum 0.1
act_cfg = dict(type="LeakyReLU", negative_slope=0.01)  # F: in the heads; the backbone has ReLU
data_preprocessor = dict(
    type="SegDataPreProcessor",
    mean=[104.00698793, 116.66876762, 122.67891434],  # F: BGR
    std=[1.0, 1.0, 1.0],  # F
    bgr_to_rgb=False,  # F
    pad_val=0,  # F: after the mean is subtracted
    seg_pad_val=255,  # F
    size=(769, 769),
)  # F
model = dict(
    type="EncoderDecoder",
    data_preprocessor=data_preprocessor,
    pretrained="pretrained/resnet101_v1c_stem128.pth",  # F: MIT's ImageNet weights, converted (docs/how-to/weights.md)
    backbone=dict(
        type="ResNetV1c",  # F: three 3x3 convolutions in the stem
        depth=101,  # F
        stem_channels=128,  # F: 64-64-128
        num_stages=4,
        out_indices=(0, 1, 2, 3),
        dilations=(1, 1, 2, 4),  # F
        strides=(1, 2, 1, 1),  # F
        norm_cfg=norm_cfg,
        norm_eval=False,  # F
        style="pytorch",  # F: the stride is in the 3x3 convolution
        contract_dilation=False,
    ),  # F: full dilation from each stage's first block on
    decode_head=dict(
        type="PSPHead",
        in_channels=2048,
        in_index=3,
        channels=512,  # F: four branches of 512, then 3x3, 4096 -> 512
        pool_scales=(1, 2, 3, 6),  # F
        dropout_ratio=0.1,  # F
        num_classes=19,
        norm_cfg=norm_cfg,
        act_cfg=act_cfg,
        align_corners=True,  # F
        # F: averaged over labelled pixels; mmseg's default also counts the ignored ones. F: OHEM is off
        loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0, avg_non_ignore=True),
    ),
    auxiliary_head=dict(  # I: plain in the FFC model too
        type="FCNHead",
        in_channels=1024,  # F
        in_index=2,  # F
        channels=512,  # F
        num_convs=1,  # F: one 3x3
        concat_input=False,  # F
        dropout_ratio=0.1,  # F
        num_classes=19,
        norm_cfg=norm_cfg,
        act_cfg=act_cfg,
        align_corners=True,  # F
        loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=0.4, avg_non_ignore=True),
    ),  # F
    train_cfg=dict(),
    test_cfg=dict(mode="slide", crop_size=(769, 769), stride=(513, 513)),
)  # F: logits are averaged
