#!/usr/bin/env python
from ffc_dense.segmentation.commands.predict import command

if __name__ == "__main__":
    command()
