"""Inspect a Spack environment: list its root specs, or the packages of its lock file. Sizes are unknown before a build."""

import os
from pathlib import Path

from hpcdeploy.architecture import AMD64, Architecture
from hpcdeploy.boundary import Boundary
from hpcdeploy.environments.inventory import compare, root_items, spack_items
from hpcdeploy.environments.spack import expanded, read_environment
from hpcdeploy.environments.spack_lock import read_lock
from hpcdeploy.environments.spack_specs import SpecList
from hpcdeploy.errors import EnvironmentFileError
from hpcdeploy.flows.inspect.against import Older
from hpcdeploy.flows.inspect.report import SourceReport
from hpcdeploy.flows.sources.spack_files import LOCK, MANIFEST, find_files
from hpcdeploy.flows.sources.spack_notes import SpackFacts, source_notes, target_notes, target_of
from hpcdeploy.flows.sources.staging import read_text

_UNKNOWN = "Spack compiles the packages: their sizes are not known before the image is built"


def inspect_spack(
    folder: Path,
    *,
    target: str = "",
    against: Older | None = None,
    project: Path | None = None,
    architecture: Architecture = AMD64,
) -> SourceReport:
    """Report on the Spack environment in `folder`.

    Args:
        folder: The environment's folder.
        target: The processor target if there is no lock file; empty to use the target in ``spack.yaml``.
        against: The older lock file to compare with; None for no comparison.
        project: The project's folder, by default `folder`. Included files must be in it, or above it in the same git work
            tree.
        architecture: The architecture of the image.

    Raises:
        EnvironmentFileError: A file is missing or malformed.
    """
    manifest, lock = folder / MANIFEST, folder / LOCK
    if not manifest.exists():
        raise EnvironmentFileError(f"{folder} has no {MANIFEST}; use the folder of a Spack environment")
    top = project or folder
    boundary = Boundary(top)
    environment = read_environment(read_text(manifest, boundary), str(manifest))
    files = find_files(os.path.relpath(folder, top), environment, boundary)
    specs = expanded(environment, files.configurations)
    text = read_text(lock, boundary) if lock.exists() else ""
    locked = read_lock(text, str(lock)) if text else None
    facts = SpackFacts(
        manifest=environment,
        files=files,
        specs=specs,
        target=target_of("" if locked else target, environment, files.configurations, specs, locked, architecture),
        lock=locked,
    )
    if locked is None:
        return _unlocked(manifest, facts)
    items = spack_items(text, str(lock))
    return SourceReport(
        source="spack",
        where=str(lock),
        targets=locked.targets,
        items=items,
        against=against.name if against else "",
        changes=compare(spack_items(against.text, against.name), items) if against else None,
        notes=(*target_notes(facts), *source_notes(facts), _UNKNOWN),
    )


def _unlocked(manifest: Path, facts: SpackFacts) -> SourceReport:
    """Return the report on an environment without a lock file."""
    return SourceReport(
        source="spack",
        where=str(manifest),
        targets=tuple(facts.target.name.split(", ")),
        items=root_items(facts.specs),
        notes=(
            f"there is no {LOCK}, so only the root specs are known; 'spack concretize' writes {LOCK}",
            *_expansion_notes(facts.specs),
            *target_notes(facts),
            *source_notes(facts),
            _UNKNOWN,
        ),
    )


def _expansion_notes(specs: SpecList) -> tuple[str, ...]:
    groups = f", in the groups {', '.join(specs.groups)}" if specs.groups else ""
    notes = [f"spack.yaml has {len(specs.roots)} specs, matrices and lists expanded{groups}"] if groups or specs.left else []
    unsure = [root.spec for root in specs.roots if not root.certain]
    if unsure:
        notes.append(
            f"{len(unsure)} of them depend on conditions that Spack evaluates when it concretizes: {', '.join(unsure[:5])}"
            + (" ..." if len(unsure) > 5 else "")
        )
    return (*notes, *(f"only Spack expands {left}" for left in specs.left))
