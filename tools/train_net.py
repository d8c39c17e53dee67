#!/usr/bin/env python
from ffc_dense.detection.commands.train import command

if __name__ == "__main__":
    command()
