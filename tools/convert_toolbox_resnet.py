#!/usr/bin/env python
from ffc_dense.cli.entry import run

if __name__ == "__main__":
    run("ffc_dense.segmentation.commands.convert_toolbox_resnet")
