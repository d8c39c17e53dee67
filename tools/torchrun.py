#!/usr/bin/env python
from ffc_dense.cli.torchrun import command

if __name__ == "__main__":
    command()
