"""A config of another command, or none, is named as what it is."""

import pytest
from tools_in_process import run_tool

pytest.importorskip("detectron2")


@pytest.mark.parametrize(
    ("tool", "config", "said"),
    [
        ("train_net", "mm.py", "this is a config of MMSegmentation; tools/mmseg_tool.py or ffc-dense takes it"),
        ("train_net", "lazy.py", "this is a LazyConfig; tools/lazyconfig_train_net.py or ffc-dense takes it"),
        ("lazyconfig_train_net", "mm.py", "this is a config of an mmengine framework; tools/mmseg_tool.py"),
        ("eval_coco", "mm.py", "this is a config of an mmengine framework; tools/mmseg_tool.py"),
        ("train_net", "", "--config-file: none is given; name"),
        ("lazyconfig_train_net", "", "--config-file: none is given; name"),
        ("eval_coco", "", "--config-file: none is given; name"),
    ],
)
def test_the_message_says_what_it_is_and_what_takes_it(tmp_path, tool, config, said):
    (tmp_path / "mm.py").write_text("_base_ = ['./a.py']\nmodel = dict(type='EncoderDecoder')\n")
    (tmp_path / "lazy.py").write_text("from detectron2 import model_zoo\n")
    code, _, err = run_tool(tool, *(["--config-file", tmp_path / config] if config else []))
    assert code == 2 and said in err.splitlines()[-1]
