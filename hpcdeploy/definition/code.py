"""Decide whether an image's code can be appended to an image that was built without it.

The code is what the setting ``files`` copies. It is appended after the build, so nothing in the build may read it, and
nothing else may be at its place. A program may read any file, so the steps of ``setup`` are searched for everything that can
lead to the code. If in doubt, the code is copied while the image is built, as before.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from hpcdeploy.definition import guard
from hpcdeploy.definition.parts import staged_copy
from hpcdeploy.image import CodePlace, ContextFile, Definition, ImageSettings
from hpcdeploy.source import DefinitionSource, DockerfileSource, OciSource, PixiSource, SpackSource
from hpcdeploy.templates import shipped_root

_TEMPLATES = {PixiSource: "pixi.def", SpackSource: "spack.def", OciSource: "oci.def"}
_OF_A_RUNNING_CONTAINER = frozenset({"run"})
"""Folders of the root that a start of a container replaces; `guard.destination` refuses further ones."""

_TAKEN = {PixiSource: ("/app",), SpackSource: ("/opt/spack-environment", "/opt/software", "/opt/view")}
"""Folders with other files, by the kind of image. The code may be inside of them, but not be one of them.

They are those of `hpcdeploy.definition.pixi` and `.spack`, whose import takes long.
"""

_WORD = re.compile(r"[A-Za-z0-9_.+-]+")
_SHELL_WORD = re.compile(r"""[^\s;&|<>()'"`]+""")
_GLOB = re.compile(r"[*?\[{]")
_SEARCHING = frozenset(
    {"find", "fd", "fdfind", "rg", "ag", "tree", "du", "ls", "tar", "rsync", "xargs", "compileall", "pytest", "shopt"}
    | {"-r", "-R", "-a", "-rf", "-fr", "-Rf", "--recursive", "--archive"}
)
"""Words of commands that read folders which they do not name, and options with which a command does so."""


def code_of(settings: ImageSettings) -> tuple[CodePlace, ...]:
    """Return the files and folders of the setting ``files``; none for a definition or a Dockerfile, which copy their own.

    Raises:
        DefinitionError: A destination is invalid.
    """
    if isinstance(settings.source, DefinitionSource | DockerfileSource):
        return ()
    return tuple(
        CodePlace(staged=staged_copy(settings, number), destination=str(guard.destination(copy.destination)))
        for number, copy in enumerate(settings.files)
    )


MARK = ".hpcdeploy-code"
"""Name of the only file in the place of a folder of code; the place of a file has this text (``login/squashfs.py``)."""


def belongs_to(code: Iterable[CodePlace], file: ContextFile) -> bool:
    """Tell whether a file of the build's folder is part of the code."""
    return any(file.staged == place.staged or file.staged.startswith(f"{place.staged}/") for place in code)


def environment_files(definition: Definition, mark: Path) -> tuple[ContextFile, ...]:
    """Return the files of a build without the code. A mark is at the place of each file and folder of the code.

    Args:
        definition: The definition of the whole image.
        mark: The path of a file with the text `MARK`.
    """
    staged = {file.staged for file in definition.files}
    sha256 = hashlib.sha256(MARK.encode()).hexdigest()
    marks = (place.staged if place.staged in staged else f"{place.staged}/{MARK}" for place in definition.code)
    return (
        *(file for file in definition.files if not belongs_to(definition.code, file)),
        *(ContextFile(source=mark, staged=name, mode=0o644, sha256=sha256) for name in marks),
    )


def why_baked(settings: ImageSettings, files: Sequence[ContextFile], project: Path) -> str:
    """Return the reason why the code cannot be appended; empty if it can be.

    Args:
        settings: The image's settings.
        files: All files of the build's folder.
        project: The project's folder.
    """
    return next(_reasons(settings, files, project), "")


def _reasons(settings: ImageSettings, files: Sequence[ContextFile], project: Path) -> Iterator[str]:
    code = code_of(settings)
    if not code:
        return
    for template in _own_templates(f"defs/{_TEMPLATES[type(settings.source)]}", project):
        yield f"the project's own template {template} may read the code while the image is built"
    destinations = [PurePosixPath(place.destination) for place in code]
    for place in destinations:
        if place.parts[1] in _OF_A_RUNNING_CONTAINER:
            yield f"{place} is in a folder that a container replaces when it starts"
        if any(PurePosixPath(taken).is_relative_to(place) for taken in _TAKEN.get(type(settings.source), ())):
            yield f"{place} has other files of the image"
        if any(place.is_relative_to(other) for other in destinations if other is not place):
            yield f"{place} is inside another destination of 'files'"
    names = {name for place in destinations for name in place.parts[1:]}
    for file in files:
        if belongs_to(code, file):
            parts = PurePosixPath(file.staged).parts[2:]
            names |= {name for part in parts for name in (part, PurePosixPath(part).stem)}
    for step in settings.setup:
        for line in step.run.splitlines():
            if not line.lstrip().startswith("#") and reads_code(line, destinations, names):
                yield f"the line {line.strip()!r} of 'setup' may read the code"


def _own_templates(template: str, project: Path) -> Iterator[str]:
    """Yield the project's files that replace a built-in `template` or a part of any template."""
    if project.resolve() == shipped_root().resolve():
        return
    has_parts = (project / "defs/parts").is_dir()
    parts = sorted(file.name for file in (shipped_root() / "defs/parts").iterdir()) if has_parts else ()
    names = (template, *(f"defs/parts/{part}" for part in parts))
    yield from (name for name in names if (project / name).exists())


def reads_code(line: str, destinations: Sequence[PurePosixPath], names: Iterable[str]) -> bool:
    """Tell whether a shell line may read the code.

    Args:
        line: The line.
        destinations: The absolute paths of the code.
        names: The names of the code's files and folders, and of the folders that contain it.
    """
    words = set(_WORD.findall(line))
    parts = {part for word in words for part in word.split(".")}  # those of a Python module
    if (words | parts) & set(names) or words & {".", ".."}:
        return True
    paths = _SHELL_WORD.findall(line)
    searching = bool(words & _SEARCHING)
    if searching and not any(path.startswith("/") for path in paths):
        return True
    return any(_may_lead_to(path, destinations, searching=searching) for path in paths)


def _may_lead_to(path: str, destinations: Sequence[PurePosixPath], *, searching: bool) -> bool:
    """Tell whether a word of a shell line may be the path of the code, or of a folder above it from which it is searched."""
    glob = _GLOB.search(path)
    if glob and not path.startswith("/"):
        return glob[0] in "*?"  # the word [ is a command, and braces are those of variables
    before = path[: glob.start()] if glob else path
    if not before.startswith("/"):
        return False
    folder = PurePosixPath(before if before.endswith("/") or not glob else before.rpartition("/")[0] or "/")
    above = any(place.is_relative_to(folder) for place in destinations)
    return above and (searching or glob is not None)
