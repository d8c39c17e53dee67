"""Whether the checkpoint that a training resumes from is of its own model and optimizer."""

from typing import Any

from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch.nn.parallel import DistributedDataParallel

from ...reliability.resuming import CannotResume
from ...runs.files import dumped_variables
from ...runs.train_config import differing

COMPARED = ("model", "data_preprocessor", "optim_wrapper")  # keys of the config that a message names


def refuse_other_model(runner: Runner, checkpoint: dict[str, Any], path: str) -> None:
    """Refuse to resume where mmengine logs what does not fit, and then fails in words of optimizers, or trains on.

    A parameter that is missing or has another shape, other groups of parameters and another optimizer do not fit.

    Args:
        checkpoint: what the file ``path`` holds.

    Raises:
        CannotResume: the message names the keys of the config that differ from the one in the checkpoint.
    """
    cause = _misfit(runner, checkpoint)
    if cause:
        before = _config(checkpoint)
        now = dumped_variables(runner.cfg.pretty_text, "the config") if before else {}
        sides = ({key: cfg[key] for key in COMPARED if key in cfg} for cfg in (before, now))
        raise CannotResume(path, cause, differing(*sides, "model."))


def _misfit(runner: Runner, checkpoint: dict[str, Any]) -> str:
    wrapped = is_model_wrapper(runner.model)
    if "state_dict" not in checkpoint or (wrapped and not isinstance(runner.model, DistributedDataParallel)):
        return ""  # of FSDP and the like, whose parameters are parts of the model's
    model = runner.model.module if wrapped else runner.model
    state = {key.removeprefix("module."): value for key, value in checkpoint["state_dict"].items()}
    wrong = [name for name, own in model.named_parameters() if getattr(state.get(name), "shape", None) != own.shape]
    saved = (checkpoint.get("optimizer") or {}).get("param_groups")
    if not wrong and saved and isinstance(runner.optim_wrapper, OptimWrapper):
        groups = runner.optim_wrapper.param_groups
        if [len(group["params"]) for group in saved] != [len(group["params"]) for group in groups]:
            wrong = [key for key in state if key not in model.state_dict()] or ["groups of the optimizer's parameters"]
        # A newer torch may know more options of the same optimizer; another optimizer lacks some too.
        lost, new = sorted(saved[0].keys() - groups[0].keys()), sorted(groups[0].keys() - saved[0].keys())
        if not wrong and lost and new:
            kind = type(runner.optim_wrapper.optimizer).__name__
            return f"it was trained with another optimizer than {kind}, with the options {', '.join(lost)}"
    more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
    return f"{wrong[0]}{more} are missing, of another shape, or too many" if wrong else ""


def _config(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """The config in a checkpoint; empty if it holds more than literals."""
    try:
        return dumped_variables((checkpoint.get("meta") or {}).get("cfg") or "", "the checkpoint's config")
    except ValueError:
        return {}
