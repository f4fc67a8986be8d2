"""Render a translated Dockerfile as a definition (``defs/dockerfile.def``)."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from hpcdeploy import templates
from hpcdeploy.definition import guard
from hpcdeploy.definition.checking import check_definition
from hpcdeploy.definition.dockerfile.context import under
from hpcdeploy.definition.dockerfile.copying import TEMPORARY_FOLDERS
from hpcdeploy.definition.dockerfile.running import NOT_KEPT
from hpcdeploy.definition.dockerfile.stages import Plan, PlannedStage
from hpcdeploy.definition.dockerfile.words import PREAMBLE, word, words
from hpcdeploy.definition.parts import base_image, runs_in_apptainer, values_of
from hpcdeploy.errors import DefinitionError
from hpcdeploy.image import ImageSettings

PRIVATE = "/.hpcdeploy"
"""A folder in the file system of each stage while the stage is built.

It contains:

- the files that COPY and ADD copy (``put``)
- the private temporary folders
- files that other stages copy by a pattern, or from a temporary folder of this stage (``given``)
"""

_SECTION_SIZE = 24 * 1024
"""Number of bytes after which another ``%post`` begins.

Apptainer joins several sections ``%post``, but rejects a section of 64 KiB. A longer piece is split between its commands,
but never inside a command. So a single command may have up to twice this number of bytes (48 KiB). A longer command is an
error.
"""


def staged_place(number: int, place: str) -> str:
    """Return the path, relative to the build's folder, of the file with the path `place` in the staging folder of a stage.

    `number` is the number of the stage in the definition.
    """
    return f"stages/{number}/put/{place}"


def render_dockerfile(plan: Plan, settings: ImageSettings, *, file: str, overrides: Path | None = None) -> str:
    """Render the definition of a translated Dockerfile.

    Args:
        plan: The translated stages.
        settings: The image's settings.
        file: The Dockerfile's name.
        overrides: The project's folder. Its ``defs/dockerfile.def``, if present, replaces the built-in template.

    Raises:
        DefinitionError: A definition cannot express a value; the message has the reason.
        TemplateError: The template is broken.
    """
    final = plan.stages[-1]
    own = values_of(settings, dict(final.arguments))
    labels = dict(final.labels) | dict(settings.labels)
    values = {
        **own,
        "file": guard.label("file", file)[1],
        "stages": [_stage(number, stage) for number, stage in enumerate(plan.stages)],
        "preamble": PREAMBLE,
        "drop_variables": runs_in_apptainer(value for _, value in final.environment),
        "exports": [word(guard.export(name, value, path=True)) for name, value in final.environment if name not in NOT_KEPT],
        "image_labels": [word(" ".join(guard.label(key, value))) for key, value in labels.items()],
        "workdir": "" if final.start.workdir == "/" else word(final.start.workdir),
        "entrypoint": words(final.start.entrypoint) if final.start.entrypoint else "",
        "command": words(final.start.command) if final.start.command else "",
    }
    text = templates.render("defs/dockerfile.def", values, overrides=overrides)
    check_definition(text)
    return text


def _stage(number: int, stage: PlannedStage) -> dict[str, object]:
    gives_temporary = any(under(TEMPORARY_FOLDERS, pattern) for pattern in stage.given)
    return {
        **base_image(stage.base, "FROM"),
        "name": stage.name,
        "arguments": stage.arguments,
        "taken": [
            (
                origin,
                f"{PRIVATE}/given/{folder_of_pattern(taken.path)}" if taken.gathered else guard.file_word(taken.path),
                f"{PRIVATE}/put/{taken.place}/{'given' if taken.gathered else ''}",
            )
            for origin, taken in stage.taken
        ],
        "staged": f"stages/{number}/put" if stage.files else "",
        "given": [
            (
                folder_of_pattern(pattern),
                " ".join(map(_shell_pattern, _with_hidden(pattern))),
                word(f"no file matches {pattern}"),
            )
            for pattern in stage.given
        ],
        "temporary": stage.temporary or gives_temporary,
        "temporary_from_the_start": gives_temporary and not stage.temporary,
        "emptied": stage.emptied,
        "needs_post": bool(stage.shell or stage.given),
        "sections": list(_sections(stage.shell)),
    }


def folder_of_pattern(pattern: str) -> str:
    """Return the name of the folder in which a stage collects the files that match a pattern.

    The name consists of letters and digits.
    """
    return pattern.encode().hex()


def _sections(pieces: Iterable[tuple[str, ...]]) -> Iterator[list[str]]:
    """Join pieces into sections ``%post``, each of at most `_SECTION_SIZE` bytes unless a single command is longer.

    Raises:
        DefinitionError: A command is too long for a section.
    """
    section: list[str] = []
    size = 0
    for piece in (part for joined in pieces for part in _parts(joined)):
        lines = [line if line.startswith("\t") or line == "'" else f"    {line}" for line in piece]
        length = sum(len(line.encode()) + 1 for line in lines)
        if length > 2 * _SECTION_SIZE:
            raise DefinitionError(
                f"{piece[0].strip()[:80]!r} is longer than Apptainer's limit; put its text into a file and COPY the file"
            )
        if size + length > _SECTION_SIZE and section:
            yield section
            section, size = [], 0
        section += lines
        size += length
    yield section


def _parts(piece: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Split a piece that is longer than `_SECTION_SIZE` into commands. ``\\`` at the end of a line continues a command."""
    if sum(len(line.encode()) for line in piece) <= _SECTION_SIZE:
        yield piece
        return
    command: list[str] = []
    for line in piece:
        command.append(line)
        if not line.endswith("\\"):
            yield tuple(command)
            command = []
    yield tuple(command)


def _with_hidden(pattern: str) -> Iterator[str]:
    """Yield a pattern, and patterns for names with a leading dot.

    Go's wildcards, which Docker uses, match a leading dot. A shell's wildcards do not.
    """
    yield pattern
    head, _, last = pattern.rpartition("/")
    if last.startswith("*"):
        yield f"{head}/.[!.]{last}"
        yield f"{head}/..?{last}"
    elif last.startswith("?"):
        yield f"{head}/.{last[1:]}"


def _shell_pattern(pattern: str) -> str:
    """Quote a pattern except its wildcards."""
    result, plain = "", ""
    for character in pattern:
        if character in "*?[]-!":
            result += (word(plain) if plain else "") + character
            plain = ""
        else:
            plain += character
    return result + (word(plain) if plain else "")
