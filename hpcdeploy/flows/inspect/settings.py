"""An image of the project: its source, the project's own files that go into it, and what it was built from last time."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from hpcdeploy.boundary import Boundary
from hpcdeploy.definition.bases import choose_base, load_bases
from hpcdeploy.definition.spack import bases
from hpcdeploy.environments.inventory import Item, largest_first
from hpcdeploy.environments.spack import read_environment
from hpcdeploy.flows.freshness import freshness
from hpcdeploy.flows.inspect.against import Older, last_build
from hpcdeploy.flows.inspect.definition import inspect_definition
from hpcdeploy.flows.inspect.report import SourceReport
from hpcdeploy.flows.inspect.spack import inspect_spack
from hpcdeploy.flows.inspect.workspace import Wanted, inspect_workspace
from hpcdeploy.flows.sources.pixi import LOCK
from hpcdeploy.flows.sources.spack_files import LOCK as SPACK_LOCK
from hpcdeploy.flows.sources.spack_files import MANIFEST as SPACK_MANIFEST
from hpcdeploy.flows.sources.staging import copied_files, read_text
from hpcdeploy.image import ImageSettings
from hpcdeploy.source import DefinitionSource, DockerfileSource, OciSource, PixiSource, SpackSource
from hpcdeploy.store import Store

OlderThan = Callable[[Path], Older]
"""Finds the lock file to compare the given one with."""


def inspect_settings(
    settings: ImageSettings,
    project: Path,
    store: Store,
    *,
    environment: str | None = None,
    against: OlderThan | None = None,
) -> SourceReport:
    """Report on what an image of the project in the folder `project` will be made from.

    Without `against` the comparison is with the lock file of the last build, where there was one. Raises
    `EnvironmentFileError` and, for files that are not there, `DefinitionError`.
    """
    report = _source(settings, project, store, environment, against)
    found = freshness(settings, project, store, learn=False)
    files = (
        Item(name=file.source.name, version="", kind="file", family="files", size=file.source.stat().st_size)
        for file in copied_files(settings, project)
    )
    return replace(
        report,
        image=settings.name,
        items=largest_first((*report.items, *files)),
        built=store.latest_build(project, settings.name),
        stale=None if found is None or found.notes else found.changes,
        notes=(*report.notes, *(found.notes if found else ())),
    )


def _source(
    settings: ImageSettings, project: Path, store: Store, environment: str | None, against: OlderThan | None
) -> SourceReport:
    def other(lock: Path) -> Older | None:
        return against(lock) if against else last_build(store, project, settings.name)

    match settings.source:
        case PixiSource() as source:
            folder = project / source.workspace
            own = environment in (None, source.environment)
            wanted = Wanted(
                environment=environment or source.environment, platform=source.platform if own else "", cuda=source.cuda
            )
            report = inspect_workspace(folder, wanted, against=other(folder / LOCK), project=project)
            base = settings.base or choose_base(load_bases(project), report.cuda)[0]
            return replace(report, base=base, final_base=settings.final_base or base)
        case SpackSource() as source:
            folder = project / source.environment
            report = inspect_spack(folder, target=source.target, against=other(folder / SPACK_LOCK), project=project)
            manifest = folder / SPACK_MANIFEST
            text = read_text(manifest, Boundary(project))
            base, final_base = bases(settings, read_environment(text, str(manifest)).container)
            return replace(report, base=base, final_base=final_base)
        case OciSource() as source:
            where = source.reference
            return SourceReport(source="oci", where=where, base=where, notes=(_IN_BASE,))
        case DockerfileSource() as source:
            return SourceReport(source="dockerfile", where=str(project / source.file), notes=(_IN_BUILD,))
        case DefinitionSource() as source:
            return inspect_definition(settings, source, project)


_IN_BASE = "no lock file says what is in this image; only the project's own files are counted here"
_IN_BUILD = "its steps decide what is in the image, and no lock file says so; only the project's own files are counted here"
