#!/usr/bin/env python
from ffc_dense.cli.demo import command

if __name__ == "__main__":
    command()
