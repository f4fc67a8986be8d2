"""Cache compiled templates between commands, because compiling took more time than the rest of rendering."""

import contextlib
import os
from pathlib import Path

from jinja2 import BytecodeCache
from jinja2.bccache import Bucket

from hpcdeploy.private import own_folder, read_private
from hpcdeploy.whole_file import whole_file


class CompiledTemplates(BytecodeCache):
    """Cache compiled templates in `folder`, one file per template, named by the template's file.

    The cache is code that Python runs, so a file is only used if no other user can have written it (`private.read_private`).
    It belongs to a template's exact text, to the compiler's options (`manner`, a text that changes with them), and to this
    version of Python and jinja2. If the cache cannot be written or read, the template is compiled again, without an error.
    """

    def __init__(self, folder: Path, *, manner: str) -> None:
        self._folder = folder
        self._manner = manner

    def get_source_checksum(self, source: str) -> str:
        """Return the key that identifies a template."""
        return super().get_source_checksum(f"{self._manner}\n{source}")

    def load_bytecode(self, bucket: Bucket) -> None:
        """Fill `bucket` from the cache."""
        try:
            bucket.bytecode_from_string(read_private(self._folder, bucket.key))
        except Exception:  # noqa: BLE001 - reading a damaged pickle "may raise any exception" (docs of pickle, UnpicklingError)
            bucket.reset()

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Write `bucket` to the cache."""
        with contextlib.suppress(OSError), whole_file(own_folder(self._folder) / bucket.key) as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(bucket.bytecode_to_string())
