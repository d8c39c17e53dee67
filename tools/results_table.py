#!/usr/bin/env python
from ffc_dense.cli.tables import command

if __name__ == "__main__":
    command()
