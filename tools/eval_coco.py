#!/usr/bin/env python
from ffc_dense.detection.commands.evaluate import command

if __name__ == "__main__":
    command()
