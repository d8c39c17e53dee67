"""Runs of the evidence made in one process, to be compared to the bit."""

import torch


def end_with_weights(module, work, tmp_path, monkeypatch, runs):
    """The weights that each of ``runs`` ends with, each from its own folder.

    One thread, as :func:`evidence.finishing.command` has it: several share a sum out differently from time to time.

    Args:
        module: ``evidence.train_detection`` or ``evidence.train_segmentation``.
        work: folder with the data.
    """
    ended = []
    monkeypatch.setattr(module, "finish", lambda work, run, model, *rest: ended.append(model.state_dict()))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for place, run in enumerate(runs):
            here = tmp_path / str(place)
            here.mkdir()
            (here / "data").symlink_to(work / "data")
            module.main(here, run)
    finally:
        torch.set_num_threads(threads)
    return ended


def same(ours, others):
    return all(torch.equal(ours[name], value) for name, value in others.items())
