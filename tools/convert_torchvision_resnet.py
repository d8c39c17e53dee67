#!/usr/bin/env python
from ffc_dense.cli.convert_torchvision_resnet import command

if __name__ == "__main__":
    command()
