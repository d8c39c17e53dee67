"""For mmseg configs with ``custom_imports``: every rank writes its own losses (mmengine logs those of rank 0 only)."""

import json
from pathlib import Path

from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class RecordLosses(Hook):
    """Append ``[iteration, loss, lr]`` per iteration (from 0) to ``work_dir/losses_{rank}.jsonl``."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        lr = runner.optim_wrapper.optimizer.param_groups[0]["lr"]
        with open(Path(runner.work_dir) / f"losses_{get_rank()}.jsonl", "a") as file:
            file.write(json.dumps([runner.iter, float(outputs["loss"]), lr]) + "\n")
