from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
version = {}
exec((here / "ffc_dense" / "version.py").read_text(), version)

evaluation = ["pycocotools>=2.0.6"]
minidata = ["numpy", "Pillow", "scikit-image>=0.22", "scikit-learn>=1.3"]
export = ["onnx", "onnxruntime", "onnxscript"]
diagnosis = ["grad-cam", "matplotlib"]

setup(
    name="ffc_dense",
    version=version["__version__"],
    description="Sequential Feature Filtering Classifier (FFC) for detectron2 and MMSegmentation",
    long_description=(here / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["ffc_dense", "ffc_dense.*"]),
    package_data={"ffc_dense.minidata": ["LICENCES.md"], "ffc_dense.report": ["assets/*"]},
    install_requires=["torch>=2.0"],
    extras_require={
        # detectron2 itself is on no package index: the README gives the pip command that builds it from source.
        "detection": evaluation + ["torchvision", "opencv-python", "setuptools<81"],
        # Either line of packages; whoever has mmsegmentation 1.2 already keeps it (see README).
        "segmentation": [
            "onedl-mmengine>=0.10.12",
            "onedl-mmcv>=2.3.6",
            "onedl-mmsegmentation>=1.4.2",
            "ftfy",
            "regex",
            "setuptools<81",
        ],
        "minidata": minidata,
        "export": export,
        "diagnosis": diagnosis,
        "safetensors": ["safetensors"],
        "dev": minidata
        + evaluation
        + export
        + diagnosis
        + [
            "cityscapesscripts",
            "hypothesis",
            "pytest",
            "pytest-cov",
            "pytest-xdist",
            "ruff",
            "safetensors",
            "scipy",
            "torchvision",
        ],
    },
    classifiers=[
        "License :: OSI Approved :: Apache Software License",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Image Recognition",
    ],
)
