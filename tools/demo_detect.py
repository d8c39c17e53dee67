#!/usr/bin/env python
from ffc_dense.detection.commands.predict import command

if __name__ == "__main__":
    command()
