"""How a command ends."""

import signal

import pytest

from ffc_dense.errors.reporting import reporting


@pytest.mark.parametrize(("rank", "said"), [("0", "x.py: interrupted\n"), ("1", "")])
def test_ctrl_c_is_one_line_of_the_first_process_and_exit_code_130(rank, said, capsys, monkeypatch):
    monkeypatch.setenv("RANK", rank)
    with pytest.raises(SystemExit) as stopped, reporting("x.py"):
        raise KeyboardInterrupt
    assert stopped.value.code == 128 + signal.SIGINT
    assert capsys.readouterr().err == said
