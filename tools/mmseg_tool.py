#!/usr/bin/env python
from ffc_dense.openmmlab.commands.scripts import command

if __name__ == "__main__":
    command()
