"""What this package replaces in detectron2, in one place."""

import types
from functools import wraps

from detectron2.data import build
from detectron2.engine import defaults
from torch import nn

from .inputs.safe_proposals import load_proposals

_create_ddp_model = defaults.create_ddp_model


def install() -> None:
    """Replace two functions of detectron2, in this process and from now on. Importing ``ffc_dense.detection`` does it.

    * The reader of the files in ``DATASETS.PROPOSAL_FILES_*``: detectron2 unpickles them, which runs what they name;
      :func:`.inputs.safe_proposals.load_proposals` reads arrays and plain values.
    * ``create_ddp_model``, which ``DefaultTrainer`` calls: :func:`create_ddp_model` takes models on the CPU too.

    Called again, it changes nothing.
    """
    # load_proposals_into_dataset calls pickle.load, and nothing else of the module's uses pickle.
    build.pickle = types.SimpleNamespace(load=load_proposals)
    defaults.create_ddp_model = create_ddp_model


@wraps(_create_ddp_model)
def create_ddp_model(model: nn.Module, **kwargs) -> nn.Module:
    """Identical to detectron2's, except for a model on the CPU: DistributedDataParallel refuses device_ids for it."""
    if all(parameter.device.type == "cpu" for parameter in model.parameters()):
        kwargs["device_ids"] = None
    return _create_ddp_model(model, **kwargs)
