"""Choose the builder of an image: Apptainer, or hpcdeploy itself (`hpcdeploy.flows.direct_build`)."""

import importlib.util
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from hpcdeploy.direct.squashfs import find_mksquashfs
from hpcdeploy.errors import DefinitionError, MissingProgramError
from hpcdeploy.flows.direct_base import DirectBuild
from hpcdeploy.flows.direct_build import has_apptainer
from hpcdeploy.flows.direct_plan import DirectPlan, Refused, plan_direct
from hpcdeploy.image import Definition, ImageSettings

Builder = Literal["apptainer", "direct"]


def choose_builder(
    settings: ImageSettings,
    project: Path,
    definition: Definition,
    *,
    wanted: Builder | None,
    downloads: Path,
    keep: bool = True,
    mirrors: Sequence[tuple[str, str]] = (),
) -> DirectBuild | None:
    """Return how to build an image on this machine without Apptainer, or None to build it with Apptainer.

    Without a wish, hpcdeploy builds the image itself if the result is that of Apptainer; else Apptainer builds it.

    Args:
        settings: The image's settings.
        project: The project's folder.
        definition: The image's definition.
        wanted: The builder that the user chose; None for an automatic choice.
        downloads: The folder for layers and packages that later builds use again.
        keep: Use and keep these downloads.
        mirrors: Pairs of a registry and its mirror.

    Raises:
        DefinitionError: Only Apptainer can build the image, but the user chose the direct builder.
        MissingProgramError: The chosen builder, or for an automatic choice every builder, is missing on this machine.
    """
    if wanted == "apptainer":
        return None
    plan = plan_direct(settings, project, definition)
    if isinstance(plan, Refused):
        return _refused(plan, definition, wanted)
    direct = DirectBuild(
        plan=plan,
        downloads=downloads,
        keep=keep,
        mirrors=mirrors,
        is_chosen=wanted == "direct",
    )
    if wanted == "direct":
        find_mksquashfs()
        return replace(direct, note="building without Apptainer")
    missing = _missing(plan)
    doubts = [*plan.doubts, *missing]
    if not doubts:
        return replace(direct, note="building without Apptainer: the result is the same")
    if has_apptainer():
        return None
    remedy = "" if missing else "; --builder direct accepts this"
    raise MissingProgramError(
        f"apptainer or singularity is not on this machine's PATH, and the image {definition.name!r} was not built without "
        f"it: {'; '.join(doubts)}{remedy}. Install Apptainer, or build on a cluster with it: hpcdeploy build --on CLUSTER"
    )


def _refused(plan: Refused, definition: Definition, wanted: Builder | None) -> DirectBuild | None:
    reasons = "; ".join(plan.reasons)
    if wanted == "direct":
        raise DefinitionError(
            f"the image {definition.name!r} cannot be built without Apptainer: {reasons}. Build it with --builder "
            "apptainer, or on a cluster: --on CLUSTER"
        )
    if has_apptainer():
        return None
    raise MissingProgramError(
        f"apptainer or singularity is not on this machine's PATH, and the image {definition.name!r} cannot be built without "
        f"it: {reasons}. Install Apptainer, or build on a cluster that has it: hpcdeploy build --on CLUSTER"
    )


def _missing(plan: DirectPlan) -> list[str]:
    """Return what a direct build lacks on this machine."""
    lacking = []
    try:
        find_mksquashfs()
    except MissingProgramError as error:
        lacking.append(str(error).partition(";")[0])
    has_rattler = all(importlib.util.find_spec(name) for name in ("rattler", "installer"))
    if plan.pixi is not None and not shutil.which("pixi") and not has_rattler:
        lacking.append("neither pixi nor py-rattler (pip install 'hpcdeploy[direct]') is installed")
    return lacking
