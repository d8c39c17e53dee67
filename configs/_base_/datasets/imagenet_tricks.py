# ImageNet-1k with the augmentation of He et al., 2019 ("Bag of tricks"). Marks: F = found in that paper or in the logs
# of its code (dmlc/web-data, gluoncv), I = inferred, U = unknown.
_base_ = "./imagenet.py"
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="RandomResizedCrop", scale=224, backend="pillow"),  # F: 8 to 100 % of the area, aspect 3/4 to 4/3
    dict(type="RandomFlip", prob=0.5, direction="horizontal"),  # F
    # F: factors from [0.6, 1.4]. I: of which properties; the paper names hue for contrast, and no scaling of a hue
    dict(type="ColorJitter", brightness=0.4, contrast=0.4, saturation=0.4),
    dict(  # F: PCA noise of deviation 0.1; the images are BGR here
        type="Lighting",
        eigval=[55.4625, 4.7940, 1.1475],
        eigvec=[[-0.5836, -0.6948, 0.4203], [-0.5808, -0.0045, -0.8140], [-0.5675, 0.7192, 0.4009]],
        alphastd=0.1,
        to_rgb=False,
    ),
    dict(type="PackInputs"),
]
train_dataloader = dict(batch_size=128, dataset=dict(pipeline=train_pipeline))  # F: 8 x 128
