"""In which folders Apptainer cannot build."""

import re

from hpcdeploy.errors import ConfigError

_UNFIT = re.compile(r"""[()'",;&|`<>:^]|[ \t]#""")
"""Seen with Apptainer 1.4.5, each in the path of APPTAINER_TMPDIR: a build hands that path to a shell unquoted ("could not
inspect container"), and to its own ``--bind``, which divides at ``,`` and ``:``.

`login_templates/build.sh` has the same list.
"""


def check_temporary(folder: str) -> None:
    """Raise `ConfigError` if Apptainer cannot build with `folder` for its temporary files."""
    found = _UNFIT.search(folder)
    if found:
        raise ConfigError(
            f'Apptainer cannot build in {folder}: the path holds {found[0]!r}, which ends in "could not inspect container" '
            "or in a mount that fails; set APPTAINER_TMPDIR to a folder without any of ( ) ' \" , ; & | ` < > : ^ and ' #'"
        )
