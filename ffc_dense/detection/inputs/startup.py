"""What a training or evaluation script checks before it reads data, so that a mistake costs seconds."""

import os
from http.client import HTTPException

import torch
from detectron2.utils.file_io import Detectron2Handler

from ...safe_files import check_digest, split_sha256, without_query
from ...safe_files.digest import DigestError
from .remote import local_file


def check_weights(path: str, key: str, *, output_dir: str = "", resume: bool = False, needed: bool = False) -> None:
    """Make sure that the weights to start from are there. Those with a URL are downloaded into detectron2's cache.

    Args:
        path: what ``key`` says: a file, an http(s), ``detectron2://`` or ``catalog://`` address, that of a handler of
            the user's own in detectron2's PathManager, or "" for random weights. detectron2's
            ``?matching_heuristics=True`` may follow, and ``?sha256=HEX``.
        key: the config key, for the message: ``MODEL.WEIGHTS`` or ``train.init_checkpoint``.
        output_dir, resume: with ``resume`` and a checkpoint of this run in ``output_dir``, ``path`` is never read.
        needed: refuse "", for evaluation.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: the download failed.
        DigestError: the file has another sha256 than it should.
    """
    if resume and os.path.isfile(os.path.join(output_dir, "last_checkpoint")):
        return
    if not path:
        if needed:
            raise FileNotFoundError(f"nothing to evaluate: name a checkpoint in {key}, or --resume for the last one")
        return
    path, digest = split_sha256(path)
    path = without_query(path)
    if "://" not in path:
        if not os.path.isfile(path):
            kind = "a folder, not a file" if os.path.isdir(path) else "not there"
            raise FileNotFoundError(
                f"{key}: {path} is {kind} (looked for {os.path.abspath(path)}). Name a .pth, .pkl or .safetensors "
                "file, or a detectron2:// address; docs/how-to/weights.md says where the weights come from"
            )
        check_digest(path, digest)
        return
    try:
        with local_file(path) as local:
            check_digest(local, digest)
    except DigestError:
        raise
    except (OSError, HTTPException, KeyError, RuntimeError, ValueError) as error:
        # KeyError and RuntimeError are those of catalog:// names, ValueError that of an unknown kind of URL.
        url = path.replace(Detectron2Handler.PREFIX, Detectron2Handler.S3_DETECTRON2_PREFIX)
        raise OSError(
            f"{key}: {path} could not be fetched from {url} ({type(error).__name__}: {error}). Without a network: "
            f"download the file elsewhere and set {key} to its path; docs/how-to/weights.md shows how"
        ) from error


def check_amp(enabled: bool, key: str, device: str) -> None:
    """Refuse mixed precision away from CUDA, where detectron2's AMPTrainer fails at the first iteration.

    Args:
        enabled: what ``key`` says.
        key: the config key, for the message: ``SOLVER.AMP.ENABLED`` or ``train.amp.enabled``.
        device: the device that the model will be on.

    Raises:
        ValueError: ``enabled``, and the model is not on a CUDA device.
    """
    if enabled and not (device.startswith("cuda") and torch.cuda.is_available()):
        raise ValueError(
            f"{key}: detectron2 trains with mixed precision on CUDA only, this run is on {device!r}; set it to False"
        )


def choose_device(device: str, key: str, processes: int) -> str:
    """The device to run on: ``device``, or the CPU for a single process on a machine without CUDA.

    Several processes take the device that was named, never another: a cluster job on the CPU is days lost.

    Args:
        device: what ``key`` says.
        key: the config key, for the message: ``MODEL.DEVICE`` or ``train.device``.
        processes: their number on all machines.

    Raises:
        ValueError: several processes, and the device is not there or not one that detectron2 can join them on.
    """
    cuda = torch.cuda.is_available()
    if processes > 1 and device.startswith("cuda") and not cuda:
        raise ValueError(
            f"--num-gpus, --num-machines: {processes} processes, but no CUDA on this machine; set {key} to cpu at the "
            "end of the command to run them on the CPU (gloo)"
        )
    if processes > 1 and device == "cpu" and cuda:
        raise ValueError(
            f"{key} cpu: where detectron2 finds CUDA it joins processes with NCCL, which sends no CPU tensors; "
            "set CUDA_VISIBLE_DEVICES=-1 in the environment as well"
        )
    return "cpu" if device.startswith("cuda") and not cuda else device
