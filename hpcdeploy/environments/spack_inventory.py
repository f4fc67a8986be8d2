"""The packages of a Spack lock file as items. Spack compiles: what a package will weigh is not known before it is built."""

from hpcdeploy.environments.families import library_family
from hpcdeploy.environments.inventory import Item, largest_first
from hpcdeploy.environments.spack_lock import read_lock
from hpcdeploy.environments.spack_specs import SpecList, constraint_of, package_of
from hpcdeploy.json_text import read_json


def spack_items(text: str, file: str = "spack.lock") -> tuple[Item, ...]:
    """Return the locked packages, those of the system (externals) included; raises `EnvironmentFileError`."""
    read_lock(text, file)  # what is no lock file is refused there
    nodes = [(key, node) for key, node in read_json(text)["concrete_specs"].items() if isinstance(node, dict)]
    return largest_first(
        Item(
            name=str(node.get("name")),
            version=str(node.get("version") or ""),
            kind="spack",
            family="Python"
            if str(node.get("name")).startswith(("py-", "python"))
            else library_family(str(node.get("name"))),
            build=key,
        )
        for key, node in nodes
    )


def root_items(specs: SpecList) -> tuple[Item, ...]:
    """Return the environment's specs, each once; ``version`` is all that a spec says of its package, ``build`` itself."""
    roots = dict.fromkeys(root.spec for root in specs.roots)
    return largest_first(
        Item(
            name=package_of(spec) or spec,
            version=constraint_of(spec) if package_of(spec) else "",
            kind="spack",
            family="programs",
            build=spec,
        )
        for spec in roots
    )
