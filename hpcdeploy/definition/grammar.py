"""Reads a definition file as Apptainer does: stages, headers, sections, arguments.

Source: ``pkg/build/types/parser/deffile.go`` and ``internal/pkg/build/args`` of Apptainer 1.3 to 1.5, whose oddities are
kept: that is what makes this reader worth asking before a build.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

from hpcdeploy.errors import DefinitionError

SECTION_LIMIT = 64 * 1024
"""Bytes that a section and the line after it must stay under: the buffer of Go's bufio.Scanner."""

TEMPLATE = re.compile(r"\{\{\s*(\w+)\s*\}\}", re.ASCII)
"""What Apptainer replaces by an argument."""

SECTIONS = frozenset(
    {
        *("help", "setup", "files", "labels", "environment", "pre", "post", "runscript", "test", "startscript", "arguments"),
        *("appinstall", "applabels", "appfiles", "appenv", "apptest", "apphelp", "apprun", "appstart"),
    }
)
HEADERS = frozenset(
    {
        *("bootstrap", "from", "includecmd", "mirrorurl", "updateurl", "osversion", "include", "library", "registry"),
        *("namespace", "stage", "product", "user", "regcode", "productpgp", "registerurl", "modules", "fingerprints"),
        *("confurl", "setopt"),
        *("target", "frontend", "filename", "buildargs"),  # of bootstrap: buildkit, Apptainer 1.5 and later
    }
)

_STAGE = re.compile(r"^bootstrap:", re.MULTILINE | re.IGNORECASE)
_COMMENT = re.compile(r"#[^!]")
_FILE_WORD = re.compile(r"""(?:[^\s"']*\{\{\s*\w+\s*\}\}*[^\s{}"']*)+|[^\s"']+|"[^"]*"|'[^']*""")


@dataclass(frozen=True, kw_only=True)
class Section:
    """All text under one name (for app sections: name and app) of a stage; ``words`` is what follows the name."""

    name: str
    words: str
    body: str


@dataclass(frozen=True, kw_only=True)
class Copies:
    """The lines of ``%files`` blocks with the same ``words`` (``"from build"``), as pairs of source and destination."""

    words: str
    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage: header (keys in lower case), sections in the order of their first line, copies."""

    header: Mapping[str, str]
    sections: tuple[Section, ...]
    files: tuple[Copies, ...]

    def section(self, name: str) -> str:
        """Return a section's text, empty where there is none."""
        return next((section.body for section in self.sections if section.name == name), "")

    @property
    def arguments(self) -> dict[str, str]:
        """The defaults that ``%arguments`` gives; quotes are part of a value."""
        lines = (line.strip() for line in self.section("arguments").splitlines())
        pairs = (line.partition("=") for line in lines if "=" in line and not line.startswith("#"))
        return {name.strip(): value.strip() for name, _, value in pairs}


def split_stages(text: str) -> tuple[str, ...]:
    """Cut a definition at each ``Bootstrap:`` in column 0, which Apptainer does before it looks at anything else."""
    starts = [match.start() for match in _STAGE.finditer(text)]
    edges = [0, *starts, len(text)]
    return tuple(text[start:end] for start, end in pairwise(edges) if start < end)


def read_definition(text: str) -> tuple[Stage, ...]:
    """Read all stages as they stand, templates not replaced; `DefinitionError` for what Apptainer would refuse."""
    stages = (_read_stage(part) for part in split_stages(text))
    return tuple(stage for stage in stages if stage.header or stage.sections or stage.files)


def substitute(text: str, build_args: Mapping[str, str]) -> str:
    """Replace the templates of every stage, as ``apptainer build --build-arg`` does.

    Raises `DefinitionError` for a name without a value, and for a build argument that no stage uses.
    """
    used: set[str] = set()
    result = "".join(_substitute_stage(part, build_args, used) for part in split_stages(text))
    unused = [name for name in build_args if name not in used]
    if unused:
        known = set(TEMPLATE.findall(text))
        if unused[0] in known:
            raise DefinitionError(
                f"the build argument {unused[0]!r} stands only behind a '#' in its lines, where Apptainer replaces nothing, "
                "a comment or not; put it into a line of its own"
            )
        raise DefinitionError(
            f"the build argument {unused[0]!r} is not used in the definition, which Apptainer refuses; "
            f"known are: {', '.join(sorted(known)) or 'none'}"
        )
    return result


def _substitute_stage(part: str, build_args: Mapping[str, str], used: set[str]) -> str:
    stages = read_definition(part)
    values = {**(stages[0].arguments if stages else {}), **build_args}
    pieces: list[str] = []
    done = 0
    for match in TEMPLATE.finditer(part):
        line_start = max(done, part.rfind("\n", done, match.start()))
        if _COMMENT.search(part, line_start, match.start()):
            continue
        if match[1] not in values:
            raise DefinitionError(
                f"the definition uses {match[0]}, but neither %arguments of that stage nor a build argument gives "
                f"{match[1]} a value"
            )
        value = values[match[1]]
        nested = TEMPLATE.sub(lambda inner: values.get(inner[1], inner[0]), value)
        pieces += [part[done : match.start()], nested]
        used.add(match[1])
        done = match.end()
    return "".join([*pieces, part[done:]])


def _read_stage(text: str) -> Stage:
    header: dict[str, str] = {}
    sections: dict[str, Section] = {}
    files: dict[str, tuple[tuple[str, str], ...]] = {}
    for token in _tokens(text):
        first, _, body = token.partition("\n")
        if not first.lstrip().startswith("%"):
            header |= _read_header(token)
            continue
        name, words = _section_name(first)
        if name == "files":
            files[words] = files.get(words, ()) + tuple(_copies(body))
            continue
        old = sections.get(name)
        sections[name] = Section(name=name, words=words or (old.words if old else ""), body=(old.body if old else "") + body)
    return Stage(
        header=header,
        sections=tuple(sections.values()),
        files=tuple(Copies(words=words, pairs=pairs) for words, pairs in files.items()),
    )


def _tokens(text: str) -> Iterator[str]:
    """Yield the header and each section; a line whose first word begins with ``%`` starts one, wherever it stands."""
    pending: list[str] = []
    size = 0
    for raw in text.removesuffix("\n").split("\n"):
        line = raw.removesuffix("\r")
        size += len(line.encode()) + 1
        if size > SECTION_LIMIT:
            raise DefinitionError(
                f"the section that begins with {pending[0][:60] if pending else line[:60]!r} is longer than 64 KiB, which "
                "Apptainer does not read; put its text into a file and copy that with %files"
            )
        if line.lstrip().startswith("%"):
            if any(pending):
                yield "\n".join(pending) + "\n"
            pending, size = [], len(line.encode()) + 1
        pending.append(line)
    if any(line.strip() for line in pending):
        yield "\n".join(pending) + "\n"


def _section_name(line: str) -> tuple[str, str]:
    """Split ``%post -c /bin/bash``. Only a space ends the name, and blanks before the ``%`` make the name empty."""
    name, _, words = line.lstrip("%").partition(" ")
    name = name.lower()
    if name not in SECTIONS:
        raise DefinitionError(
            f"the line {line[:60]!r} begins with '%', so Apptainer takes it for a section, and knows none named {name!r}; "
            "put such text into a file and copy that with %files"
        )
    if name.startswith("app"):
        app, _, words = words.partition(" ")
        return f"{name} {app}", words
    return name, words


def _read_header(text: str) -> dict[str, str]:
    header: dict[str, str] = {}
    key, value = "", ""
    for raw in text.strip().split("\n"):
        line = raw.strip()
        if not line or line.startswith("#"):
            key, value = "", ""
            continue
        line = line.split("#", 1)[0]
        if value:
            value += line.strip()
        else:
            key, colon, value = line.partition(":")
            if not colon:
                raise DefinitionError(f"the header line {raw!r} has no ':'; 'Key: value' was expected")
            key, value = key.strip().lower(), value.strip()
        if value.endswith("\\"):
            value = value.removesuffix("\\")
            continue
        if key not in HEADERS and not re.fullmatch(r"otherurl\d+", key):
            raise DefinitionError(f"the header {key!r} is none that Apptainer knows")
        header[key] = value
        key, value = "", ""
    return header


def _copies(body: str) -> Iterator[tuple[str, str]]:
    for raw in body.strip().split("\n"):
        line = raw.strip()
        if line and not line.startswith("#"):
            words = [match[0].strip().strip('"') for match in _FILE_WORD.finditer(line)]
            yield words[0], words[1] if len(words) > 1 else ""
