#!/usr/bin/env python
from ffc_dense.cli.check_data import command

if __name__ == "__main__":
    command()
