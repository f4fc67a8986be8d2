"""Find compiler flags that name a processor in a Spack file; they take precedence over the target that Spack knows.

Sources: the GCC manual, "x86 Options" (``-march``, ``-mtune``; ``native`` is the compiling machine) and "AArch64 Options"
(``-mcpu``); Intel's compiler guide (``-xHost``). Spack passes them unchanged: its documentation, "Spec syntax", "Compiler
flags".
"""

import re
from collections.abc import Iterator

_FLAG = re.compile(r"(?<![\w-])(?:-m(?:arch|cpu)=[\w.+=-]+|-mtune=native|-x(?:Host|HOST))(?![\w-])")
_NOT_FLAGS = ("container", "mirrors", "repos", "include")


def processor_flags(value: object, where: str = "") -> Iterator[tuple[str, str]]:
    """Yield each flag that names a processor, with its key path, such as ``packages.hdf5.require``."""
    if isinstance(value, str):
        yield from ((match[0], where) for match in _FLAG.finditer(value))
    elif isinstance(value, list):
        for item in value:
            yield from processor_flags(item, where)
    elif isinstance(value, dict):
        for key, inner in value.items():
            if where or str(key).rstrip(":+-") not in _NOT_FLAGS:
                yield from processor_flags(inner, f"{where}.{str(key).rstrip(':+-')}" if where else str(key).rstrip(":+-"))
