"""Add the mount point for a build's secrets to each stage of a definition."""

import re

from hpcdeploy.definition.grammar import split_stages

_SECTION = re.compile(r"^[ \t]*%", re.MULTILINE)
_MOUNT_POINT = """%setup
    # Apptainer binds only to what is there: /run/secrets, empty but while a step asks for a secret.
    rootfs=${APPTAINER_ROOTFS:-$SINGULARITY_ROOTFS}
    [ -L "$rootfs/run" ] || mkdir -p "$rootfs/run/secrets"

"""


def with_mount_point(text: str) -> str:
    """Return a definition in which every stage creates the folder ``/run/secrets``, because a bind applies to all stages.

    Apptainer 1.4.5 aborts a build if a bind has no destination ("destination /run/secrets doesn't exist in container").
    Only ``%setup`` runs before that, on the build host. If ``/run`` is a link, it might lead out of the image, so it is not
    touched.
    """

    def stage(part: str) -> str:
        if not part.lower().startswith("bootstrap:"):
            return part
        section = _SECTION.search(part)
        if section is None:
            return part.rstrip("\n") + "\n\n" + _MOUNT_POINT
        return part[: section.start()] + _MOUNT_POINT + part[section.start() :]

    return "".join(map(stage, split_stages(text)))
