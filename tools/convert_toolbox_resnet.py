#!/usr/bin/env python
from ffc_dense.cli.convert_toolbox_resnet import command

if __name__ == "__main__":
    command()
