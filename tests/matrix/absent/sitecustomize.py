"""On PYTHONPATH: makes the packages named in ABSENT_PACKAGES look as if they were not installed."""

import os
import sys


class Without:
    """A finder that does not find them: an import fails, and ``find_spec`` gives None, as for what is not there."""

    names = os.environ.get("ABSENT_PACKAGES", "").split()

    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        return None if name.split(".")[0] in self.names else self.finder.find_spec(name, path, target)

    def __getattr__(self, name):
        return getattr(self.finder, name)


sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
