#!/usr/bin/env python
from ffc_dense.cli.entry import run

if __name__ == "__main__":
    run("ffc_dense.detection.commands.convert_torchvision_resnet")
