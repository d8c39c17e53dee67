#!/usr/bin/env python
from ffc_dense.reliability.torchrun import command

if __name__ == "__main__":
    command()
