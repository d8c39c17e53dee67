"""What is built by name here is mmpretrain's."""

import pytest

pytest.importorskip("mmpretrain")

from mmengine.registry import DefaultScope


@pytest.fixture(autouse=True)
def mmpretrain_s_scope():
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        yield
