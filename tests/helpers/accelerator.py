"""What a path launches on an accelerator, counted with tensors that hold no data: no accelerator is needed."""

import weakref
from collections import Counter

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

# Operators that launch nothing: views, and memory that is not written.
SILENT = {
    "_reshape_alias", "_unsafe_view", "alias", "as_strided", "detach", "empty", "empty_like", "empty_strided", "expand",
    "new_empty", "permute", "select", "slice", "split", "split_with_sizes", "squeeze", "t", "transpose", "unbind",
    "unfold", "unsqueeze", "view",
}  # fmt: skip


class Launches(TorchDispatchMode):
    """Counts operators, and the bytes of the storages that live at the same time, those inside alone.

    Use it within ``FakeTensorMode()`` on tensors of ``device='cuda'``: whatever would wait for the device raises there,
    and a copy from the host's memory, which waits too, raises here.
    """

    def __init__(self):
        super().__init__()
        self.calls: Counter[str] = Counter()
        self.live = self.peak = 0
        self._seen = weakref.WeakKeyDictionary()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if function.namespace == "aten":
            self.calls[function.overloadpacket.__name__] += 1
        given = tensors((args, kwargs))
        if function.overloadpacket.__name__ in ("_to_copy", "copy_", "lift_fresh"):
            places = {each.device.type for each in (*given, *tensors(result))}
            if {"cpu", "cuda"} <= places:
                raise RuntimeError(f"{function} waits for the device: {places}")
        known = {each.untyped_storage()._cdata for each in given}
        for each in tensors(result):
            storage = each.untyped_storage()
            if each.device.type != "meta" and storage._cdata not in known and storage not in self._seen:
                self._seen[storage] = True
                size = storage.nbytes()
                self.live += size
                weakref.finalize(storage, self._free, size)
        self.peak = max(self.peak, self.live)
        return result

    def _free(self, size: int) -> None:
        self.live -= size

    @property
    def operators(self) -> int:
        return sum(self.calls.values())

    @property
    def kernels(self) -> int:
        return sum(count for name, count in self.calls.items() if name not in SILENT)


def tensors(tree) -> list[Tensor]:
    return [leaf for leaf in torch.utils._pytree.tree_leaves(tree) if isinstance(leaf, Tensor)]
