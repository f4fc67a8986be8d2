"""Find the digests of a definition's base images, and compute the keys of its build."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from hpcdeploy.architecture import AMD64
from hpcdeploy.build_keys import (
    EnvironmentInputs,
    architecture_of,
    code_entries,
    environment_key,
    image_key,
)
from hpcdeploy.cluster import Cluster
from hpcdeploy.definition.checking import LOCAL, check_definition
from hpcdeploy.definition.code import MARK, belongs_to, environment_files
from hpcdeploy.definition.unpinned import unpinned_downloads
from hpcdeploy.errors import HpcdeployError
from hpcdeploy.frozen import frozen
from hpcdeploy.image import EPOCH, Definition
from hpcdeploy.known_files import digest_of

_IN_REGISTRY = frozenset({"docker", "oras"})
_EMPTY = frozenset({"scratch"})
_NO_NEW_BUILD = "changes there do not lead to a new build (--force builds it)"


DigestOf = Callable[[str, str], str]
"""Return the digest (``sha256:...``) of an image in a registry, from its bootstrap agent and its reference."""


@frozen
class Bases:
    """The base images of a definition.

    Attributes:
        digests: The references of base images (the values of ``From``), each with its digest.
        notes: Messages about what may change the result of a build, although it is in no key.
    """

    digests: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()


def find_bases(definition: Definition, digest_of_image: DigestOf, *, before: Mapping[str, str], here: bool = True) -> Bases:
    """Find the digest of each base image of `definition`.

    If a registry cannot be queried, the digest that the last build used counts, and a note names the base image.

    Args:
        definition: The definition.
        digest_of_image: Queries a registry.
        before: The digests that the last build of the image used, by reference.
        here: The build runs on this machine, so that a base with an absolute path can be read.

    Raises:
        DefinitionError: The definition is invalid.
    """
    digests: dict[str, str] = {}
    notes: list[str] = []
    staged = {file.staged for file in definition.files}
    stages = check_definition(definition.text, dict(definition.build_args))
    for stage in stages:
        agent, source = stage.header.get("bootstrap", "").lower(), stage.header.get("from", "")
        if agent in _EMPTY or source in digests:
            continue
        if agent in _IN_REGISTRY and source:
            digest, note = _in_registry(agent, source, digest_of_image, before.get(source, ""))
        elif agent in LOCAL:
            digest, note = _on_disk(source, staged, here=here)
        else:
            digest, note = "", f"the base of {agent} {source}".rstrip() + " is downloaded anew by each build"
        if digest:
            digests[source] = digest
        if note:
            notes.append(f"{note}; {_NO_NEW_BUILD}")
    if downloading := unpinned_downloads(stages):
        notes.append(f"the build's scripts download with {', '.join(downloading)}; {_NO_NEW_BUILD}")
    return Bases(digests=tuple(digests.items()), notes=tuple(dict.fromkeys(notes)))


def building_machine(cluster: Cluster | None) -> str:
    """Return the processor of the machine that builds, as `with_keys` takes it; empty for this machine.

    No login node is queried for it. If the settings of `cluster` name one platform for all its nodes, the login node has
    that processor too; else x86_64 is assumed.
    """
    if cluster is None:
        return ""
    named = {one for _, several in cluster.platform for one in several}
    return (named.pop() if len(named) == 1 else AMD64).machine


def with_keys(
    definition: Definition,
    bases: Sequence[tuple[str, str]],
    *,
    machine: str = "",
    epoch: int = EPOCH,
) -> Definition:
    """Return `definition` with the keys of its environment and its image.

    Args:
        definition: The definition, without keys.
        bases: The references of base images, each with its digest. Only those that occur in the definition count.
        epoch: The time of all files of the image, in seconds since 1970.
        machine: The processor of the building machine, a word of uname(1); empty for this machine. It counts only for a
            definition without an architecture.

    Raises:
        DefinitionError: The definition is invalid.
    """
    named = {stage.header.get("from", "") for stage in check_definition(definition.text, dict(definition.build_args))}
    used = tuple((source, digest) for source, digest in bases if source in named)
    architecture = definition.architecture.name if definition.architecture else architecture_of(machine)
    appended = definition.code and not definition.why_baked
    code = [file for file in definition.files if appended and belongs_to(definition.code, file)]
    key = environment_key(
        EnvironmentInputs(
            text=definition.text,
            files=environment_files(definition, Path(MARK)) if appended else definition.files,
            build_args=definition.build_args,
            bases=used,
            architecture=architecture,
            compression=definition.compression,
            epoch=epoch,
        )
    )
    return replace(
        definition,
        environment=key,
        inputs=image_key(key, code_entries(code)),
        former=definition.former or definition.inputs,
        bases=used,
        key_architecture=architecture,
        epoch=epoch,
    )


def _in_registry(agent: str, source: str, query: DigestOf, before: str) -> tuple[str, str]:
    _, at, digest = source.partition("@")
    if at:
        return digest, ""
    try:
        found = query(agent, source)
    except (HpcdeployError, OSError) as error:
        reason = str(error)
    else:
        if found:
            return found, ""
        reason = "the registry names no digest"
    if before:
        return before, f"the digest of the base image {source} is that of the last build, {before[:19]} ({reason})"
    return "", f"the digest of the base image {source} is unknown ({reason})"


def _on_disk(source: str, staged: set[str], *, here: bool) -> tuple[str, str]:
    """Return the digest of a base that is a file, and a note if its content is unknown."""
    path = source.partition(":")[0] if not Path(source).exists() else source
    if source in staged or path in staged or path.removeprefix("./") in staged:
        return "", ""  # its checksum is among those of the files
    if here and source.startswith("/") and Path(path).is_file():
        return f"sha256:{digest_of(Path(path))}", ""
    return "", f"the content of the base {source} is in no key"
