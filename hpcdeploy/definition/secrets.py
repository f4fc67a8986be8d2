"""The place in each stage at which the pipes of a build's secrets are bound."""

import re

from hpcdeploy.definition.grammar import split_stages

_SECTION = re.compile(r"^[ \t]*%", re.MULTILINE)
_MOUNT_POINT = """%setup
    # Apptainer binds only to what is there: /run/secrets, empty but while a step asks for a secret.
    rootfs=${APPTAINER_ROOTFS:-$SINGULARITY_ROOTFS}
    [ -L "$rootfs/run" ] || mkdir -p "$rootfs/run/secrets"

"""


def with_mount_point(text: str) -> str:
    """Return a definition in which every stage makes the folder ``/run/secrets``: a bind holds for a whole build.

    Apptainer 1.4.5 stops a build whose bind has no place ("destination /run/secrets doesn't exist in container"). ``%setup``
    is the one section that runs before that, on the machine that builds: a ``/run`` that is a link might lead out of the
    image, and is left alone.
    """

    def stage(part: str) -> str:
        if not part.lower().startswith("bootstrap:"):
            return part
        section = _SECTION.search(part)
        if section is None:
            return part.rstrip("\n") + "\n\n" + _MOUNT_POINT
        return part[: section.start()] + _MOUNT_POINT + part[section.start() :]

    return "".join(map(stage, split_stages(text)))
