"""Two gloo processes: what fails in the main one fails in both, and neither waits for the other."""

import json
from datetime import timedelta

import pytest
import torch
from torch import distributed
from torch.multiprocessing import start_processes

pytest.importorskip("mmseg")

from ffc_dense.errors import TrainingStopped, UserError
from ffc_dense.openmmlab.inputs import weight_addresses
from ffc_dense.openmmlab.training import main_process

URL = "https://host/weights.pth"


def on_two_ranks(folder, *tasks):
    """[[what each task returned or raised on rank 0, on rank 1]] of functions of (rank, folder)."""
    start_processes(_rank, (str(folder), tasks), nprocs=2, start_method="fork")
    ends = [json.loads((folder / f"rank{rank}.json").read_text()) for rank in (0, 1)]
    return list(zip(*ends, strict=True))


def _rank(rank, folder, tasks):
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2, timeout=timedelta(seconds=20)
    )
    ends = []
    for task in tasks:
        try:
            ends.append(task(rank, folder))
        except (UserError, OSError) as error:
            ends.append([type(error).__name__, str(error)])
    with open(f"{folder}/rank{rank}.json", "w") as file:
        json.dump(ends, file)


def failed_download(rank, folder):
    def no_network(url, path, **kwargs):
        raise OSError("no network")

    torch.hub.set_dir(folder)
    torch.hub.download_url_to_file = no_network
    return str(weight_addresses.local_path(URL, "load_from"))


def downloaded(rank, folder):
    def download(url, path, **kwargs):
        with open(path, "a") as file:
            file.write(f"rank {rank}")

    torch.hub.set_dir(folder)
    torch.hub.download_url_to_file = download
    return weight_addresses.local_path(URL, "load_from").read_text()


def value(rank, folder):
    return main_process.from_main(lambda number: {"number": number, "rank": rank}, 7)


def stopped(rank, folder):
    main_process.raise_from_main(TrainingStopped("full") if rank == 0 else None)


def stopped_on_both(rank, folder):
    main_process.raise_from_main(TrainingStopped(f"full on {rank}"))


def wrong(rank, folder):
    return main_process.from_main(_raise, UserError("no checkpoint"))


def _raise(error):
    raise error


def test_a_fault_of_the_main_process_is_one_of_all(tmp_path):
    ends = on_two_ranks(tmp_path, failed_download, downloaded, value, stopped, stopped_on_both, wrong)
    (first, second), *others = ends
    assert first[0] == "FileNotFoundError" and f"load_from: {URL} cannot be downloaded (no network)" in first[1]
    assert second == ["UserError", f"the main process failed: {first[1]}"]
    assert others == [
        ("rank 0", "rank 0"),
        ({"number": 7, "rank": 0}, {"number": 7, "rank": 0}),
        (["TrainingStopped", "full"], ["TrainingStopped", "the main process failed: full"]),
        (["TrainingStopped", "full on 0"], ["TrainingStopped", "full on 1"]),
        (["UserError", "no checkpoint"], ["UserError", "the main process failed: no checkpoint"]),
    ]


def test_a_single_process_is_the_main_one():
    assert main_process.from_main(lambda: 3) == 3
    with pytest.raises(FileNotFoundError, match="gone"):
        main_process.from_main(_raise, FileNotFoundError("gone"))
    with pytest.raises(UserError, match="wrong"):
        main_process.raise_from_main(UserError("wrong"))
