#!/usr/bin/env python
from ffc_dense.cli.report import command

if __name__ == "__main__":
    command()
