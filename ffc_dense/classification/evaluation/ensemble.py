"""Several classifiers that decide as one (paper Table 7). Shape shorthand as in ``cls_head.py``; P members."""

import copy

import torch
from mmpretrain.models import ImageClassifier
from mmpretrain.models.classifiers import BaseClassifier
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from ...method.voting import vote
from ...openmmlab.inputs.config_errors import class_of, type_name
from ..model import heads
from ..model.cls_head import FFCClsHead, add_opinions


@MODELS.register_module()
class ClassifierEnsemble(BaseClassifier):
    """P classifiers of one config, with weights of their own, that classify every image together. For prediction only.

    With ``test_reduce='vote'`` the P x M outputs vote as the M of one model do; with 'mean' their logits are averaged;
    with 'out1' ... those of the members' own Out1 ... Stock heads take part with their one output. One member gives
    what it gives alone. Two members of M outputs each often tie M : M, and then the most confident output decides
    alone: the mean says more of such an ensemble.

    Args:
        member: config of an ``ImageClassifier``.
        size: P.
        data_preprocessor: for a ``member`` without one; mmengine's Runner gives it to every model.

    Raises:
        ValueError: ``size`` is less than 1, or the head of ``member`` has no FFC form.
    """

    def __init__(self, member: dict, size: int, data_preprocessor: dict | None = None):
        if size < 1:
            raise ValueError(f"size: an ensemble has at least one member, got {size!r}")
        member = with_ffc_head(member)
        member.setdefault("data_preprocessor", data_preprocessor)
        members = [MODELS.build(copy.deepcopy(member)) for _ in range(size)]
        super().__init__(data_preprocessor=members[0].data_preprocessor)
        self.members: nn.ModuleList = nn.ModuleList(members)

    @property
    def head(self) -> FFCClsHead:
        """The first member's head, whose ``test_reduce`` holds for the ensemble."""
        return self.members[0].head

    def outputs(self, inputs: Tensor) -> Tensor:
        """Images (N, 3, H, W) -> (P x M, N, K) logits of every output, member after member."""
        return torch.cat([member.head.outputs(member.extract_feat(inputs)) for member in self.members])

    def classify(self, inputs: Tensor) -> Tensor:
        """Images (N, 3, H, W) -> (N, K)."""
        if self.head.test_reduce == "vote":
            return vote(self.outputs(inputs), -1)[0]
        logits = [member.head(member.extract_feat(inputs)) for member in self.members]
        return logits[0] if len(logits) == 1 else torch.stack(logits).mean(0)

    def forward(self, inputs: Tensor, data_samples: list[DataSample] | None = None, mode: str = "tensor"):
        """As ``ImageClassifier``, in the modes 'tensor' and 'predict'."""
        if mode == "loss":
            raise TypeError("an ensemble predicts only: train its members one by one")
        logits = self.classify(inputs)
        if mode == "tensor":
            return logits
        found = self.head._get_predictions(logits, data_samples)
        if self.head.opinions:
            add_opinions(found, self.outputs(inputs))
        return found

    def extract_feat(self, inputs: Tensor):
        raise TypeError("an ensemble has no feature of its own; ask one of its members")


def with_ffc_head(model: dict) -> dict:
    """A classifier's config with the stock head, if it has one, as the FFC head without filters, which is the same.

    Raises:
        ValueError: there is no such FFC head, or the classifier is none of mmpretrain's ``ImageClassifier``.
    """
    model = copy.deepcopy(model)
    if class_of(model) is not ImageClassifier:
        raise ValueError(f"model.type: {model['type']} cannot be a member of an ensemble; expected ImageClassifier")
    head = model["head"]
    kind = class_of(head)
    if not (isinstance(kind, type) and issubclass(kind, FFCClsHead)):
        name = f"FFC{type_name(head)}"
        if name not in heads.__all__:
            raise ValueError(
                f"model.head.type: outputs of {name.removeprefix('FFC')} cannot be joined; expected one of "
                f"{', '.join(heads.CLASSIFIES_BY_ONE_LINEAR_LAYER)}, stock or FFC"
            )
        head.update(type=f"mmpretrain.{name}", num_filters=0)
    return model
