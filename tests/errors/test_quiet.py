"""What a framework prints is shown on request; what a waiting user needs, always."""

import logging
import sys

import pytest

from ffc_dense.errors.quiet import framework_output

LINES = {  # as the frameworks write them -> whether they are shown without --verbose
    "11/29 12:56:08 - mmengine - INFO - Config:\nmodel = dict()": False,
    "11/29 12:56:08 - mmengine - \x1b[33mWARNING\x1b[0m - a key is missing": True,
    "11/29 12:56:08 - mmengine - INFO - Iter(test) [10/20]  eta: 0:00:10": True,
    "[11/29 12:56:08 d2.data.common]: Serializing 2 elements": False,
    "\x1b[32m[11/29 12:56:08 d2.evaluation.evaluator]: \x1b[0mInference done 11/500. Dataloading: 0.1 s/iter": True,
    "[11/29 12:56:08 d2.checkpoint]: \x1b[5m\x1b[31mWARNING\x1b[0m Some model parameters are not found": True,
}


@pytest.mark.parametrize("verbose", [False, True])
def test_the_output_of_a_command_is_its_own(capsys, verbose):
    logger = logging.getLogger("quiet")
    logger.propagate = False
    with framework_output(verbose):
        handler = logging.StreamHandler(sys.stdout)
        logger.addHandler(handler)
        for line in LINES:
            print("index created")
            logger.error(line)
    print("a table")
    out, err = capsys.readouterr()
    assert out == "a table\n"
    assert [line for line in LINES if line in err] == [line for line, shown in LINES.items() if shown or verbose]
    assert ("index created" in err) == verbose
    logger.error("WARNING: later")  # a handler outlives the command
    logger.removeHandler(handler)
    assert "later" in capsys.readouterr().err
