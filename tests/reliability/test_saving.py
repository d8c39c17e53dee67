"""Files that are written as a whole or not at all."""

import errno
import os
import resource
import subprocess
import sys
import zipfile
from contextlib import contextmanager

import pytest
import torch

from ffc_dense.reliability import saving
from ffc_dense.reliability.saving import (
    NonFiniteState,
    NotSaved,
    is_whole,
    non_finite,
    refuse_non_finite,
    remove_partial_files,
    save_atomically,
    write_bytes_atomically,
    write_text_atomically,
)

STATE = {"model": {"w": torch.arange(40.0), "b": torch.ones(3)}, "iteration": 3}


@contextmanager
def largest_file(size):
    """No file may grow beyond ``size`` bytes: the system refuses the write, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_what_is_saved_is_what_is_loaded_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "a.pth"
    for _ in range(2):  # a new file, and one that is there
        save_atomically(STATE, path)
        loaded = torch.load(path, weights_only=True)
        assert torch.equal(loaded["model"]["w"], STATE["model"]["w"]) and loaded["iteration"] == 3
    write_text_atomically("a.pth", tmp_path / "last_checkpoint")
    write_bytes_atomically(b"\0\xff", tmp_path / "bytes")
    assert (tmp_path / "last_checkpoint").read_text() == "a.pth" and (tmp_path / "bytes").read_bytes() == b"\0\xff"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pth", "bytes", "last_checkpoint"]
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask  # as open() would have it, for the group to read


@pytest.mark.parametrize("elements", [4, 10**6])
def test_a_full_disk_leaves_the_previous_file_and_says_why(tmp_path, elements):
    path = tmp_path / "model.pth"
    save_atomically(STATE, path)
    before = path.read_bytes()
    with largest_file(200), pytest.raises(NotSaved) as caught:
        save_atomically({"w": torch.zeros(elements)}, path)
    message = str(caught.value)
    assert f"{path} was not written: File too large (EFBIG)" in message
    assert f"MiB are free in {tmp_path}" in message and f"The previous checkpoint {path} is untouched" in message
    assert caught.value.exit_code == 3
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_an_error_of_the_last_step_is_one_of_the_file_as_well(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(saving.os, "fsync", full)
    with pytest.raises(NotSaved, match=r"No space left on device \(ENOSPC\).*There is no previous checkpoint"):
        write_text_atomically("x", tmp_path / "last_checkpoint")
    assert not list(tmp_path.iterdir())


def test_a_missing_folder_and_a_file_in_its_place_are_named(tmp_path):
    with pytest.raises(NotSaved, match=r"No such file or directory \(ENOENT\)"):
        save_atomically(STATE, tmp_path / "none" / "a.pth")
    (tmp_path / "a.pth").mkdir()
    with pytest.raises(NotSaved, match=r"Is a directory \(EISDIR\)"):
        save_atomically(STATE, tmp_path / "a.pth")
    assert [path.name for path in tmp_path.iterdir()] == ["a.pth"]


def test_errors_that_are_not_of_the_file_pass_and_leave_no_file(tmp_path):
    with pytest.raises(AttributeError, match="local"):
        save_atomically({"f": lambda: None}, tmp_path / "a.pth")
    assert not list(tmp_path.iterdir())


def test_the_error_of_a_write_is_not_mistaken_for_another_error(tmp_path):
    """An error of the system that the caller handles at that time, an interruption, an error of what is saved."""

    class Raises:
        def __init__(self, error, cause=None):
            self.error, self.cause = error, cause

        def __reduce__(self):
            raise self.error from self.cause

    full = OSError(errno.ENOSPC, "disk full elsewhere")
    for error in (RuntimeError("of the object"), KeyboardInterrupt(), ValueError("of a value")):
        try:
            raise full
        except OSError:
            with pytest.raises(type(error)) as caught:
                save_atomically({"f": Raises(error)}, tmp_path / "a.pth")
        assert caught.value is error
        if not isinstance(error, RuntimeError):
            with pytest.raises(type(error)):
                save_atomically({"f": Raises(error, full)}, tmp_path / "a.pth")
    try:
        raise full
    except OSError:  # the error of the write itself is found all the same
        with largest_file(200), pytest.raises(NotSaved, match="File too large"):
            save_atomically({"w": torch.zeros(10**6)}, tmp_path / "a.pth")
    assert not list(tmp_path.iterdir())


def test_half_written_files_of_others_are_not_removed(tmp_path):
    names = ["download.zip.partial", "a.pth.1234.partial", "a.pth.1234567g.partial", "12345678.partial", "a.12345678"]
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / "folder.12345678.partial").mkdir()
    ours = tmp_path / "a.pth.0a1b2c3d.partial"
    ours.touch()
    assert remove_partial_files(tmp_path) == [ours]
    assert {path.name for path in tmp_path.iterdir()} == {*names, "folder.12345678.partial"}


def test_a_kill_leaves_the_old_file_and_a_partial_one_that_is_removed(tmp_path):
    path = tmp_path / "model.pth"
    save_atomically(STATE, path)
    program = (
        "import os, signal, sys, torch\n"
        "from ffc_dense.reliability import saving\n"
        "saving.os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"saving.save_atomically(torch.zeros(1000), {str(path)!r})\n"
    )
    done = subprocess.run([sys.executable, "-c", program], timeout=60)
    assert done.returncode == -9
    assert is_whole(path) and torch.load(path, weights_only=True)["iteration"] == 3
    partial = [other for other in tmp_path.iterdir() if other != path]
    assert len(partial) == 1 and partial[0].name.startswith("model.pth.") and not partial[0].name.endswith(".pth")
    assert remove_partial_files(tmp_path) == partial and list(tmp_path.iterdir()) == [path]


def same(path):
    loaded = torch.load(path, weights_only=True)
    return all(torch.equal(loaded["model"][key], STATE["model"][key]) for key in "wb") and loaded["iteration"] == 3


def test_is_whole_refuses_truncated_files(tmp_path):
    path = tmp_path / "a.pth"
    save_atomically(STATE, path)
    content = path.read_bytes()
    for size in [*range(0, len(content), 9), len(content) - 1]:
        path.write_bytes(content[:size])
        assert not is_whole(path), size


def test_a_changed_byte_is_found_or_changes_nothing(tmp_path):
    path = tmp_path / "a.pth"
    save_atomically(STATE, path)
    content = path.read_bytes()
    found = 0
    for position in range(len(content)):
        path.write_bytes(content[:position] + bytes([content[position] ^ 0xFF]) + content[position + 1 :])
        if is_whole(path):
            assert same(path), position
        else:
            found += 1
    print(f"{found} of {len(content)} changed bytes found; the others are padding, times and names, and change nothing")
    assert found > len(content) / 2


def test_is_whole_refuses_what_is_no_checkpoint(tmp_path):
    text, legacy = tmp_path / "text.pth", tmp_path / "legacy.pth"
    text.write_text("version https://git-lfs")
    torch.save(STATE, legacy, _use_new_zipfile_serialization=False)
    assert not any(map(is_whole, (text, legacy, tmp_path, tmp_path / "none.pth")))


def test_is_whole_refuses_the_suffix_of_safetensors_and_malformed_pickles_with_right_checksums(tmp_path):
    named, malformed = tmp_path / "named.safetensors", tmp_path / "malformed.pth"
    torch.save(STATE, named)
    assert not is_whole(named)
    torch.save(STATE, tmp_path / "good.pth")
    for content in (b"\x80\x02.", b"\x80\x02h\x05.", b"\x80\x02K\x01K\x02s."):  # IndexError, KeyError in torch.load
        with zipfile.ZipFile(tmp_path / "good.pth") as good, zipfile.ZipFile(malformed, "w") as bad:
            for entry in good.infolist():
                bad.writestr(entry, content if entry.filename.endswith("data.pkl") else good.read(entry))
        assert not is_whole(malformed), content


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.complex64])
def test_one_number_that_is_not_finite_is_found_wherever_it_is(value, dtype):
    for position in (0, 3, 6):
        bad = torch.full((7,), torch.finfo(dtype).max, dtype=dtype)  # the largest number is finite
        assert non_finite({"w": bad}) == []
        bad[position] = value
        state = {"a": torch.ones(2), "n": torch.tensor([2**31 - 1]), "empty": torch.ones(0),
                 "optimizer": {"state": [{"m": bad, "lr": float("nan")}]}}  # fmt: skip
        assert non_finite(state) == ["optimizer.state.0.m"]


def test_a_state_that_is_not_finite_is_refused_with_the_first_name(tmp_path):
    bad = torch.tensor([1.0, float("nan")])
    refuse_non_finite(STATE, tmp_path / "a.pth")
    with pytest.raises(NonFiniteState, match=r"a\.pth was not written: model\.w holds NaN .* There is no previous"):
        refuse_non_finite({"model": {"w": bad, "b": torch.ones(2)}}, tmp_path / "a.pth")
    with pytest.raises(NonFiniteState, match=r"w and 1 more tensors hold .*previous checkpoint old\.pth is untouched"):
        refuse_non_finite({"w": bad, "b": bad}, tmp_path / "a.pth", previous="old.pth")
