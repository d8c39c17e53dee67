"""Make mmengine read files without running code that is in them. Importing this module is enough,
it calls :func:`ffc_dense.openmmlab.installing.install`::

    custom_imports = dict(imports=['ffc_dense.openmmlab.inputs.safe_loading'], allow_failed_imports=False)

From then on, in this process,

- ``load_from``, ``--resume`` and ``init_cfg=dict(type='Pretrained')`` read checkpoints by
  :func:`.mmengine_files.read_checkpoint`. mmengine 0.10.7 unpickles them; onedl-mmengine does so whenever
  ``weights_only`` fails. ``.safetensors`` files load too, and ``PATH?sha256=HEX`` is compared first.
- ``mmengine.load``, which reads ``.yaml`` configs, knows no ``!!python`` tags but tuples, and builds numpy arrays and
  plain values only from ``.pkl`` files. mmengine itself calls what these name.

Nothing is read in another way after one of these fails. Addresses of a storage back end that is registered with
mmengine (``mmengine.fileio.register_backend``; ``s3://`` is mmengine's own) are read through it, as data too. Schemes
that are downloaded by other means (``pavi://``, ``mmcls://``) are refused. Our commands import this module before they
read the config; in a config it acts after the config itself was read.
"""

from ..installing import install
from .safe_readers import forbid_pickled_checkpoints, load_from_checked_file, refuse_scheme

__all__ = ["forbid_pickled_checkpoints", "install", "load_from_checked_file", "refuse_scheme"]

install()
