"""Compiled templates, kept from one command to the next: compiling them took more time than all else that rendering does."""

import contextlib
import os
from pathlib import Path

from jinja2 import BytecodeCache
from jinja2.bccache import Bucket

from hpcdeploy.private import own_folder, read_private
from hpcdeploy.whole_file import whole_file


class CompiledTemplates(BytecodeCache):
    """Keeps what was compiled in `folder`, a file for each template by the name of its file.

    It is code that Python runs, so a file counts only if nobody else can have written it (`private.read_private`). What is
    kept belongs to a template's very text, to how it was compiled (`manner`, any text that is another one when the options
    are), and to this version of Python and jinja2; else it is not used. Where nothing can be kept, or what was kept cannot
    be read, the template is compiled again: that is never an error.
    """

    def __init__(self, folder: Path, *, manner: str) -> None:
        self._folder = folder
        self._manner = manner

    def get_source_checksum(self, source: str) -> str:
        """Return what a template must be known by to be used again."""
        return super().get_source_checksum(f"{self._manner}\n{source}")

    def load_bytecode(self, bucket: Bucket) -> None:
        """Give `bucket` what was kept of it."""
        try:
            bucket.bytecode_from_string(read_private(self._folder, bucket.key))
        except Exception:  # noqa: BLE001 - reading a damaged pickle "may raise any exception" (docs of pickle, UnpicklingError)
            bucket.reset()

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep what `bucket` holds."""
        with contextlib.suppress(OSError), whole_file(own_folder(self._folder) / bucket.key) as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(bucket.bytecode_to_string())
