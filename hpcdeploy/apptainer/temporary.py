"""In which folders Apptainer cannot build."""

import re

from hpcdeploy.errors import ConfigError

_UNFIT = re.compile(r"""[()'",;&|`$<>:^]|[ \t]#""")
"""Characters that the path of APPTAINER_TMPDIR must not contain.

At its end a build runs ``apptainer inspect``, which writes that path into a shell script without quotes, and divides it at
``:`` (Apptainer 1.4.5, cmd/internal/cli/inspect.go: newCommand). That fails ("could not inspect container"), or finds no
labels. A ``--bind`` of the build divides it at ``,`` and ``:``. `login/build.sh` has the same list.
"""


def check_temporary(folder: str) -> None:
    """Raise `ConfigError` if Apptainer cannot build with `folder` for its temporary files."""
    found = _UNFIT.search(folder)
    if found:
        raise ConfigError(
            f'Apptainer cannot build in {folder}: the path holds {found[0]!r}, which ends in "could not inspect container", '
            "lost labels or a mount that fails; set APPTAINER_TMPDIR to a folder without any of "
            "( ) ' \" , ; & | ` $ < > : ^ and ' #'"
        )
