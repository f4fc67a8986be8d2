"""Cache compiled templates on disk, because compiling a template takes longer than rendering it."""

import contextlib
import os
from pathlib import Path

from jinja2 import BytecodeCache
from jinja2.bccache import Bucket

from hpcdeploy.private import own_folder, read_private
from hpcdeploy.whole_file import whole_file


class CompiledTemplates(BytecodeCache):
    """Cache compiled templates in `folder`, with one file per template.

    Python runs the code in the cache. So a file of the cache is only used if no other user can have written it
    (`private.read_private`). The file is only valid for the exact text of the template, for one version of Python and
    jinja2, and for the options of the compiler. `manner` is a text that must differ if these options differ.

    If a file cannot be read or written, or is damaged, the template is compiled again without an error.
    """

    def __init__(self, folder: Path, *, manner: str) -> None:
        self._folder = folder
        self._manner = manner

    def get_source_checksum(self, source: str) -> str:
        """Return a checksum of a template's text and of the compiler's options."""
        return super().get_source_checksum(f"{self._manner}\n{source}")

    def load_bytecode(self, bucket: Bucket) -> None:
        """Read the compiled template of `bucket` from the cache; leave `bucket` empty if that is not possible."""
        try:
            bucket.bytecode_from_string(read_private(self._folder, bucket.key))
        except Exception:  # noqa: BLE001 - reading a damaged pickle "may raise any exception" (docs of pickle, UnpicklingError)
            bucket.reset()

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Write the compiled template of `bucket` to the cache; do nothing if that is not possible."""
        with contextlib.suppress(OSError), whole_file(own_folder(self._folder) / bucket.key) as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(bucket.bytecode_to_string())
