"""A definition file that somebody wrote: checked, its files found, its text left as it is."""

import glob
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath

from hpcdeploy.boundary import Boundary
from hpcdeploy.definition.advice import advise
from hpcdeploy.definition.bootstrap import LOCAL
from hpcdeploy.definition.checking import check_definition
from hpcdeploy.definition.grammar import TEMPLATE, Stage, read_definition
from hpcdeploy.errors import DefinitionError
from hpcdeploy.flows.sources.contract import Prepared, Request
from hpcdeploy.flows.sources.staging import exact_text, folder_files
from hpcdeploy.image import ContextFile
from hpcdeploy.source import DefinitionSource

_PATTERN = frozenset("*?[")
_UNKNOWN = frozenset("$`\\{}()!")
"""What Apptainer's shell expands besides (variables, braces, extended patterns), and nobody can here."""


def prepare(request: Request[DefinitionSource]) -> Prepared:
    """Take a definition as it is. Its ``%files`` and a base that is a file begin at the project's folder.

    All secrets that the settings describe are offered to its steps. Raises `DefinitionError` for what Apptainer would
    refuse, and for files that a build elsewhere would not have: for all of them at once. Raises it, too, for a definition
    outside of the project (see `Boundary`).
    """
    file = request.project / request.source.file
    text = _text(file, Boundary(request.project, named=file if request.named else None))
    stages = check_definition(text, request.build_args)
    files = _found(request.project, stages)
    kept = tuple(entry for entry in files if not _is_image_beside(entry, stages))
    left = ", ".join(entry.staged for entry in files if entry not in kept)
    notes = [*advise(read_definition(text)), *_about_patterns(stages)]
    if left:
        notes.append(f"%files: {left} stays out of the build: a folder brings no .sif along")
    return Prepared(
        text=text,
        files=kept,
        arguments=_arguments(text),
        secrets=tuple(secret.name for secret in request.settings.secrets),
        notes=tuple(notes),
    )


def _about_patterns(stages: tuple[Stage, ...]) -> Iterator[str]:
    """Say so where ``**`` is used: what it may find is staged, but to Apptainer 1.4.5 it is a plain ``*``."""
    for source in (source for stage in stages for copies in stage.files for source, _ in copies.pairs):
        if "**" in source:
            yield f"%files: ** in {source!r} reaches one folder deep, as * does, where Apptainer is as old as 1.4.5"


def _text(file: Path, within: Boundary) -> str:
    try:
        text = exact_text(file, within, DefinitionError)
    except UnicodeDecodeError as error:
        raise DefinitionError(f"{file} is not UTF-8 text: {error}; save it as UTF-8") from error
    except OSError as error:
        raise DefinitionError(
            f"{file} cannot be read: {error.strerror}; name the definition in the image's 'definition'"
        ) from error
    if text.startswith("\ufeff"):
        raise DefinitionError(
            f"{file} begins with a byte order mark, which Apptainer takes for text; save it as UTF-8 without"
        )
    return text


def _arguments(text: str) -> dict[str, str]:
    """All names that a value can be given to: those with a default, and those that are only used."""
    used = dict.fromkeys(TEMPLATE.findall(text), "")
    return {**used, **{name: value for stage in read_definition(text) for name, value in stage.arguments.items()}}


def _found(project: Path, stages: tuple[Stage, ...]) -> tuple[ContextFile, ...]:
    """Find all files that the stages name; one `DefinitionError` for all that are missing or cannot be taken."""
    found: dict[str, ContextFile] = {}
    refused: dict[str, None] = {}
    for find in (find for stage in stages for find in _files(project, stage)):
        try:
            found |= {file.staged: file for file in find()}
        except DefinitionError as error:
            refused[str(error)] = None
    if len(refused) > 1:
        raise DefinitionError(
            f"the definition names {len(refused)} things that cannot be copied:\n- " + "\n- ".join(refused)
        )
    if refused:
        raise DefinitionError(*refused)
    return tuple(found.values())


def _files(project: Path, stage: Stage) -> Iterator[Callable[[], Iterable[ContextFile]]]:
    """Yield what finds the files of one line of a stage, or of its base."""
    bootstrap, base = stage.header.get("bootstrap", "").lower(), stage.header.get("from", "")
    # An absolute base is the building machine's own, such as a site's central images.
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
    """Yield the sources of ``%appfiles``: up to the first space of a line without its comment (``apps.go``, copyFiles)."""
    for raw in body.split("\n"):
        line = raw.strip().partition("#")[0].strip()
        if line:
            yield line.partition(" ")[0]


def _app_files(project: Path, source: str, what: str) -> list[ContextFile]:
    """Find what a line of ``%appfiles`` names, which goes to cp(1) as it stands: no patterns, no quotes."""
    if not (project / source).exists() and (_PATTERN | {'"'}) & set(source):
        raise DefinitionError(
            f"{what} names {source!r}, where Apptainer takes every character as it stands, unlike in %files; "
            "write the names out"
        )
    return _staged(project, source, what)


def _sources(project: Path, source: str, what: str) -> Iterator[ContextFile]:
    bad = next((character for character in source if character in _UNKNOWN), "")
    if bad:
        raise DefinitionError(
            f"{what} names {source!r}, and {bad!r} is something that only the machine that builds could expand; write the "
            "names out, or use *, ?, [...] and **"
        )
    _check_place(source, what)
    if not _PATTERN & set(source):
        yield from _staged(project, source, what)
        return
    names = sorted(glob.glob(source, root_dir=project, recursive=True))  # noqa: PTH207 - unlike Path.glob's, * leaves .x out
    if not names:
        raise DefinitionError(f"{what} names {source!r}, which fits nothing in {project}; correct it or make the files")
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
            f"{what} names {source!r}, a place of one machine, which a login node does not have; copy it into the project "
            "and name it relative to the project's folder"
        )
    if ".." in PurePosixPath(source).parts:
        raise DefinitionError(
            f"{what} names {source!r}, which leaves the folder that it begins in; copy it into the project and name it "
            "without '..'"
        )


def _is_image_beside(file: ContextFile, stages: tuple[Stage, ...]) -> bool:
    """Tell a ``.sif`` that a folder would bring along: an earlier build of this very image lies in the project's folder."""
    named = {stage.header.get("from", "") for stage in stages}
    named |= {source for stage in stages for copies in stage.files for source, _ in copies.pairs}
    return file.staged.endswith(".sif") and file.staged not in named and f"./{file.staged}" not in named
