"""List the packages of a Spack lock file as items; their sizes are unknown before Spack has compiled them."""

from hpcdeploy.environments.families import library_family
from hpcdeploy.environments.inventory import Item, largest_first
from hpcdeploy.environments.spack_lock import read_lock
from hpcdeploy.environments.spack_specs import SpecList, constraint_of, package_of
from hpcdeploy.json_text import read_json


def spack_items(text: str, file: str = "spack.lock") -> tuple[Item, ...]:
    """Return the locked packages, including those of the system (externals).

    Raises:
        EnvironmentFileError: The lock file is malformed.
    """
    read_lock(text, file)  # rejects a malformed lock file
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
    """Return the environment's specs without duplicates; ``version`` is a spec's constraint, ``build`` the spec itself."""
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
