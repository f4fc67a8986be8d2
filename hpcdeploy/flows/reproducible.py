"""Build an image twice, and name the files that differ."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from hpcdeploy.apptainer.build_folder import only_build, remove
from hpcdeploy.apptainer.build_progress import Report, Show, ignore_event
from hpcdeploy.apptainer.build_script import Repeating
from hpcdeploy.apptainer.compare import differences
from hpcdeploy.apptainer.local_cache import SECOND_PARTS
from hpcdeploy.apptainer.packing import find_tools
from hpcdeploy.errors import BuildError
from hpcdeploy.flows.build import LocalBuilds, build_here
from hpcdeploy.image import BuiltImage, Definition
from hpcdeploy.secret import NO_SECRETS, SecretValue

ANEW = Repeating(force=True)
_MOST = 40
"""Maximum number of differences in the message."""


def build_twice(
    definition: Definition,
    output: Path,
    builds: LocalBuilds,
    *,
    secrets: Mapping[str, SecretValue] = NO_SECRETS,
    report: Report = ignore_event,
) -> BuiltImage:
    """Build `definition` into `output`, build it again in another folder, and compare the two images byte by byte.

    Nothing of an earlier build is used. The arguments are those of `build_here`. The first image stays at `output`, even if
    the second one differs.

    Raises:
        BuildError: The images differ, and the message lists the differences; or a build failed.
        ConfigError: Apptainer cannot use the temporary folder's path, or SOURCE_DATE_EPOCH is no time.
        MissingProgramError: Apptainer is not installed.
    """
    tools = find_tools(Path("/"))
    if isinstance(tools, str) or not tools.unsquashfs:
        reason = tools if isinstance(tools, str) else "unsquashfs is not on this machine's PATH"
        raise BuildError(f"cannot compare two builds: {reason}; install squashfs-tools 4.4 or newer")
    show = Show(report)
    show.step("first build")
    first = build_here(definition, output, builds, is_recorded=_never, repeating=ANEW, secrets=secrets, report=report)
    folder = builds.work / f"{definition.inputs[:16]}-second"
    with only_build(folder, show):
        again = replace(builds, work=folder / "builds", environments=folder / "environments", images=None)
        left = tuple(folder / part for part in SECOND_PARTS)
        remove(*left)
        try:
            show.step("second build")
            second = folder / "image" / "second.sif"
            build_here(definition, second, again, is_recorded=_never, repeating=ANEW, secrets=secrets, report=report)
            show.step("comparing the two images")
            found = list(differences(output, second, tools, folder / "files"))
        finally:
            remove(*left)
    if found:
        more = f"\n  and {len(found) - _MOST} more" if len(found) > _MOST else ""
        lines = "\n".join(f"  {text}" for text in found[:_MOST])
        raise BuildError(
            f"two builds of {definition.name!r} differ:\n{lines}{more}\nRemove what depends on the time or the machine from "
            "'setup' or the definition; in their lines, $SOURCE_DATE_EPOCH is the time to use"
        )
    return first


def _never(_image: BuiltImage) -> bool:
    return False
