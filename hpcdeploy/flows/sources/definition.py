"""Prepare a definition file that the user wrote: check the definition and find its files. Its text stays unchanged."""

import glob
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath

from hpcdeploy.boundary import Boundary
from hpcdeploy.definition.advice import advise
from hpcdeploy.definition.checking import LOCAL, check_definition
from hpcdeploy.definition.grammar import TEMPLATE, Stage, read_definition
from hpcdeploy.errors import DefinitionError
from hpcdeploy.flows.sources.contract import Prepared, Request
from hpcdeploy.flows.sources.staging import exact_text, folder_files
from hpcdeploy.image import ContextFile
from hpcdeploy.source import DefinitionSource

_PATTERN = frozenset("*?[")
_UNKNOWN = frozenset("$`\\{}()!")
"""Other characters that Apptainer's shell expands: variables, braces, extended patterns.

Paths with these characters are refused, because only the building machine can expand them.
"""


def prepare(request: Request[DefinitionSource]) -> Prepared:
    """Prepare a definition without changes.

    Paths in ``%files``, and the path of a base that is a file, are relative to the project's folder. The definition's steps
    may use all secrets in the settings.

    Raises:
        DefinitionError: The definition is outside the project (see `Boundary`), Apptainer would reject it, or it names files
            that are missing or that a build on another machine could not read. One error lists all such files.
    """
    file = request.project / request.source.file
    text = _text(file, Boundary(request.project, named=file if request.named else None))
    stages = check_definition(text, request.build_args)
    files = _found(request.project, stages)
    beside = {entry.staged for entry in files if _is_image_beside(entry, stages)}
    kept = tuple(entry for entry in files if entry.staged not in beside)
    left = ", ".join(entry.staged for entry in files if entry.staged in beside)
    notes = [*advise(read_definition(text)), *_about_patterns(stages)]
    if left:
        notes.append(f"%files: {left} is left out of the build, because a .sif in a copied folder is not copied")
    return Prepared(
        text=text,
        files=kept,
        arguments=_arguments(text),
        secrets=tuple(secret.name for secret in request.settings.secrets),
        notes=tuple(notes),
    )


def _about_patterns(stages: tuple[Stage, ...]) -> Iterator[str]:
    """Yield a note for each ``**``: all matching files are staged, but Apptainer 1.4.5 treats ``**`` as ``*``."""
    for source in (source for stage in stages for copies in stage.files for source, _ in copies.pairs):
        if "**" in source:
            yield f"%files: ** in {source!r} matches only one level of folders, like *, with Apptainer 1.4.5 and older"


def _text(file: Path, within: Boundary) -> str:
    try:
        text = exact_text(file, within, DefinitionError)
    except UnicodeDecodeError as error:
        raise DefinitionError(f"{file} is not UTF-8 text: {error}; save it as UTF-8") from error
    except OSError as error:
        raise DefinitionError(
            f"{file} cannot be read: {error.strerror}; set the definition's path in the image's 'definition'"
        ) from error
    if text.startswith("\ufeff"):
        raise DefinitionError(
            f"{file} begins with a byte order mark, which Apptainer reads as text; save the file as UTF-8 without a mark"
        )
    return text


def _arguments(text: str) -> dict[str, str]:
    """Return the default of each build argument by name; the default is empty for an argument that is only used."""
    used = dict.fromkeys(TEMPLATE.findall(text), "")
    return {**used, **{name: value for stage in read_definition(text) for name, value in stage.arguments.items()}}


def _found(project: Path, stages: tuple[Stage, ...]) -> tuple[ContextFile, ...]:
    """Find all files that the stages name; raise one `DefinitionError` for all files that are missing or not allowed."""
    found: dict[str, ContextFile] = {}
    refused: dict[str, None] = {}
    for find in (find for stage in stages for find in _files(project, stage)):
        try:
            found |= {file.staged: file for file in find()}
        except DefinitionError as error:
            refused[str(error)] = None
    if len(refused) > 1:
        raise DefinitionError(f"the definition names {len(refused)} paths that cannot be copied:\n- " + "\n- ".join(refused))
    if refused:
        raise DefinitionError(*refused)
    return tuple(found.values())


def _files(project: Path, stage: Stage) -> Iterator[Callable[[], Iterable[ContextFile]]]:
    """Yield one function for each source in the lines of a stage, and one for its base; the function returns the files."""
    bootstrap, base = stage.header.get("bootstrap", "").lower(), stage.header.get("from", "")
    # An absolute base belongs to the building machine, such as a site's central images.
    if bootstrap in LOCAL and base and not base.startswith("/"):
        plain = base.partition(":")[0]
        yield partial(_staged, project, base if (project / base).exists() else plain, f"From ({bootstrap})")
    for copies in stage.files:
        if copies.is_from_host:
            # Apptainer skips a line whose source is empty ("Attempt to copy file with no name, skipping").
            yield from (partial(_sources, project, source, "%files") for source, _ in copies.pairs if source)
    for section in stage.sections:
        if section.name.startswith("appfiles "):
            for source in _app_sources(section.body):
                yield partial(_app_files, project, source, f"%{section.name}")


def _app_sources(body: str) -> Iterator[str]:
    """Yield the sources of ``%appfiles``: the text before the first space of a line (``apps.go``, copyFiles)."""
    for raw in body.split("\n"):
        line = raw.strip().partition("#")[0].strip()
        if line:
            yield line.partition(" ")[0]


def _app_files(project: Path, source: str, what: str) -> list[ContextFile]:
    """Find the files of a line of ``%appfiles``, which is passed to cp(1) unchanged, without patterns or quotes."""
    if not (project / source).exists() and (_PATTERN | {'"'}) & set(source):
        raise DefinitionError(
            f"{what} names {source!r}, but Apptainer expands patterns only in %files; list the names without patterns"
        )
    return _staged(project, source, what)


def _sources(project: Path, source: str, what: str) -> Iterator[ContextFile]:
    bad = next((character for character in source if character in _UNKNOWN), "")
    if bad:
        raise DefinitionError(
            f"{what} names {source!r}, but only the building machine can expand {bad!r}; list the names, or use *, ?, [...] "
            "and **"
        )
    _check_place(source, what)
    if not _PATTERN & set(source):
        yield from _staged(project, source, what)
        return
    names = sorted(glob.glob(source, root_dir=project, recursive=True))  # noqa: PTH207 - unlike Path.glob's, * leaves .x out
    if not names:
        raise DefinitionError(f"{what} names {source!r}, which matches nothing in {project}; correct it or create the files")
    for name in names:
        if "**" not in source or (project / name).is_file():
            yield from _staged(project, name, what)


def _staged(project: Path, source: str, what: str) -> list[ContextFile]:
    _check_place(source, what)
    place = str(PurePosixPath(source))
    return [
        ContextFile(source=file.source, staged=file.staged.removeprefix("./"), mode=file.mode, sha256=file.sha256)
        for file in folder_files(project, source, place, what)
    ]


def _check_place(source: str, what: str) -> None:
    if source.startswith(("/", "~")):
        raise DefinitionError(
            f"{what} names {source!r}, a path of this machine, which a login node does not have; copy the file into the "
            "project and use a path relative to the project's folder"
        )
    if ".." in PurePosixPath(source).parts:
        raise DefinitionError(
            f"{what} names {source!r}, which has '..'; copy the file into the project and use a path without '..'"
        )


def _is_image_beside(file: ContextFile, stages: tuple[Stage, ...]) -> bool:
    """Tell whether a file is a ``.sif`` in a copied folder, not named itself. It may be an earlier build of the image."""
    named = {stage.header.get("from", "") for stage in stages}
    named |= {source for stage in stages for copies in stage.files for source, _ in copies.pairs}
    return file.staged.endswith(".sif") and file.staged not in named and f"./{file.staged}" not in named
