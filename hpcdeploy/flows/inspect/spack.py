"""A Spack environment: its roots, and what its lock file adds to them. Sizes nobody knows before it was compiled."""

from pathlib import Path

from hpcdeploy.environments.inventory import Item, compare, largest_first
from hpcdeploy.environments.spack import read_environment, targets_in
from hpcdeploy.environments.spack_inventory import spack_items
from hpcdeploy.environments.spack_lock import read_lock
from hpcdeploy.errors import EnvironmentFileError
from hpcdeploy.flows.inspect.against import Older
from hpcdeploy.flows.inspect.report import SourceReport
from hpcdeploy.flows.sources.staging import read_text

MANIFEST, LOCK = "spack.yaml", "spack.lock"
_UNKNOWN = "Spack compiles the packages: their sizes are not known before the image is built"


def inspect_spack(folder: Path, *, target: str = "", against: Older | None = None) -> SourceReport:
    """Report on the Spack environment in `folder`; raises `EnvironmentFileError`.

    Without a lock file, `target` takes the place of what ``spack.yaml`` requires, as it does in the build.
    """
    manifest, lock = folder / MANIFEST, folder / LOCK
    if not manifest.is_file():
        raise EnvironmentFileError(f"{folder} holds no {MANIFEST}; name the folder of a Spack environment")
    environment = read_environment(read_text(manifest), str(manifest))
    asked = (target for words in environment.configuration.requirements for target in targets_in(words))
    if not lock.is_file():
        roots = (Item(name=name, version="", kind="spack", family="programs") for name in environment.roots)
        return SourceReport(
            source="spack",
            where=str(manifest),
            targets=(target,) if target else tuple(dict.fromkeys(asked)),
            items=largest_first(roots),
            notes=(
                f"there is no {LOCK}, so only the roots are known; 'spack concretize' writes one",
                _UNKNOWN,
            ),
        )
    text = read_text(lock)
    items = spack_items(text, str(lock))
    return SourceReport(
        source="spack",
        where=str(lock),
        targets=read_lock(text, str(lock)).targets,
        items=items,
        against=against.name if against else "",
        changes=compare(spack_items(against.text, against.name), items) if against else None,
        notes=(_UNKNOWN,),
    )
