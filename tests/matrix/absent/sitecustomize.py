"""On PYTHONPATH: makes the packages named in ABSENT_PACKAGES look as if they were not installed."""

import os
import sys


class Absent:
    names = os.environ.get("ABSENT_PACKAGES", "").split()

    def find_spec(self, name, path=None, target=None):
        package = name.split(".")[0]
        if package in self.names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=package)


sys.meta_path.insert(0, Absent())
