"""The metadata is in pyproject.toml. Here: what the wheel brings besides the package.

``ffc_dense/.mim`` holds the configs, the scripts and ``model-index.yml``, as in the wheels of OpenMMLab, where ``mim``
and ``ffc-dense`` find them.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent


class BuildWithMim(build_py):
    def run(self):
        super().run()
        if self.editable_mode:
            return
        mim = Path(self.build_lib, "ffc_dense", ".mim")
        shutil.rmtree(mim, ignore_errors=True)  # of an earlier build
        for folder in ("configs", "tools"):
            shutil.copytree(HERE / folder, mim / folder, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(HERE / "model-index.yml", mim)


setup(cmdclass={"build_py": BuildWithMim})
