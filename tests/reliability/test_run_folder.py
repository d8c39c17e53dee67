"""One training at a time in a folder, and none begins where an old one lies."""

import os
import subprocess
import sys
from contextlib import suppress

import pytest

from ffc_dense.errors import UserError
from ffc_dense.reliability.run_folder import LOCK, claim_run_folder

HOLDS = """
import sys, time
from ffc_dense.reliability.run_folder import claim_run_folder
claim_run_folder(sys.argv[1], "OUTPUT_DIR", resumes=True, checkpoints="model_*.pth")
if len(sys.argv) > 2:
    import os
    if os.fork() == 0:  # as a data loader's worker, which may outlive the training for seconds
        time.sleep(60)
print("claimed", flush=True)
time.sleep(60)
"""


def claim(folder, resumes=True):
    claim_run_folder(folder, "OUTPUT_DIR", resumes=resumes, checkpoints="model_*.pth")


@pytest.mark.parametrize("more", [[], ["with a worker"]])
def test_the_folder_is_one_trainings_until_it_ends_however_it_ends(tmp_path, more):
    command = [sys.executable, "-c", HOLDS, tmp_path / "out", *more]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        assert holder.stdout.readline() == "claimed\n"
        said = rf"out: another training writes there \(process {holder.pid} on .*choose another folder with OUTPUT_DIR"
        with pytest.raises(UserError, match=said):
            claim(tmp_path / "out")
        claim(tmp_path / "other")
        holder.kill()
        holder.wait()
        claim(tmp_path / "out")
        assert (tmp_path / "out" / LOCK).read_text().startswith(f"{os.getpid()} on ")
        claim(tmp_path / "out")  # the same process goes on, as after an error in a notebook
    finally:
        with suppress(ProcessLookupError):
            os.killpg(holder.pid, 9)


@pytest.mark.parametrize("name", ["last_checkpoint", "model_0000009.pth"])
def test_a_fresh_start_in_an_old_folder_says_how_to_go_on_or_start_anew(tmp_path, name):
    (tmp_path / name).write_text("model_0000009.pth")
    with pytest.raises(UserError, match=rf"holds a training already \({name}\): --resume goes on.*OUTPUT_DIR"):
        claim(tmp_path, resumes=False)
    claim(tmp_path, resumes=True)


def test_a_folder_of_logs_alone_is_begun_in(tmp_path):
    (tmp_path / "log.txt").write_text("stopped before the first checkpoint")
    claim(tmp_path, resumes=False)


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"OUTPUT_DIR: .*file/out cannot be written to"):
        claim(tmp_path / "file" / "out")


def test_an_address_is_left_alone():
    claim("s3://bucket/run", resumes=False)
