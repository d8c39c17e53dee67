"""mmengine's backend for local files, with writes that no kill and no full disk can leave half done."""

from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

from ...reliability.saving import write_bytes_atomically, write_text_atomically

NAME = "ffc_atomic"


@register_backend(NAME)
class AtomicLocalBackend(LocalBackend):
    """Identical to :class:`mmengine.fileio.LocalBackend`, except that a file is replaced by a whole new one or stays.

    ``backend_args=dict(backend="ffc_atomic")`` of mmengine's functions chooses it.

    Args:
        previous: the checkpoint that the message of a failed write names as untouched.

    Raises:
        NotSaved: by ``put`` and ``put_text``, when the file could not be written.
    """

    def __init__(self, previous: str | None = None) -> None:
        self.previous = previous

    def put(self, obj: bytes, filepath: str | Path) -> None:
        Path(filepath).parent.mkdir(parents=True, exist_ok=True)
        write_bytes_atomically(obj, filepath, previous=self.previous)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = "utf-8") -> None:
        if encoding.lower() not in ("utf-8", "utf8"):
            raise ValueError(f"encoding: only utf-8 is written, not {encoding}")
        Path(filepath).parent.mkdir(parents=True, exist_ok=True)
        write_text_atomically(obj, filepath, previous=self.previous)
