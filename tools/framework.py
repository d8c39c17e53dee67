#!/usr/bin/env python
"""Print the framework of a config: detectron2, lazyconfig, mmseg or mmpretrain. For the shell launchers."""

import sys

from ffc_dense.errors import UserError
from ffc_dense.frameworks import recognise

try:
    framework, kind = recognise(sys.argv[1])
except UserError as error:
    sys.exit(f"{error}")
print("lazyconfig" if kind == "lazy" else framework.name)
