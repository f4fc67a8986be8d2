"""Compiler flags that name a processor, wherever a Spack file has them: they win over the target that Spack knows of.

Sources: the GCC manual, "x86 Options" (``-march``, ``-mtune``; ``native`` is the machine that compiles) and "AArch64
Options" (``-mcpu``); Intel's compiler guide (``-xHost``). Spack passes them on as they are: its documentation, "Spec
syntax", "Compiler flags".
"""

import re
from collections.abc import Iterator

_FLAG = re.compile(r"(?<![\w-])(?:-m(?:arch|cpu)=[\w.+=-]+|-mtune=native|-x(?:Host|HOST))(?![\w-])")
_NOT_FLAGS = ("container", "mirrors", "repos", "include")


def processor_flags(value: object, where: str = "") -> Iterator[tuple[str, str]]:
    """Tell each flag that names a processor, and the keys that lead to it, such as ``packages.hdf5.require``."""
    if isinstance(value, str):
        yield from ((match[0], where) for match in _FLAG.finditer(value))
    elif isinstance(value, list):
        for item in value:
            yield from processor_flags(item, where)
    elif isinstance(value, dict):
        for key, inner in value.items():
            if where or str(key).rstrip(":+-") not in _NOT_FLAGS:
                yield from processor_flags(inner, f"{where}.{str(key).rstrip(':+-')}" if where else str(key).rstrip(":+-"))
