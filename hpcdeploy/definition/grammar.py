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

MOST_PUT_IN = 16 * 1024 * 1024
"""Characters of arguments' values that are put into one stage: a section is at most 64 KiB long, and names what it likes."""

_BLANK = r"[\t\n\f\r ]"
"""What ``\\s`` means to Go (https://pkg.go.dev/regexp/syntax): unlike Python's, no vertical tab and nothing beyond ASCII."""

TEMPLATE = re.compile(rf"\{{\{{{_BLANK}*(\w+){_BLANK}*\}}\}}", re.ASCII)
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
_NEW_LINE = "\\n"
"""Before the backslash that continues a header: two characters that mean a line break there."""
_PLAIN = r"""[^\t\n\f\r "']"""
_FILE_WORD = re.compile(
    rf"""(?:{_PLAIN}*\{{\{{{_BLANK}*\w+{_BLANK}*\}}\}}*[^\t\n\f\r {{}}"']*)+|{_PLAIN}+|"[^"]*"|'[^']*""", re.ASCII
)


@dataclass(frozen=True, kw_only=True)
class Section:
    """All text under one name (for app sections: name and app) of a stage; ``words`` is what follows the name."""

    name: str
    words: str
    body: str


@dataclass(frozen=True, kw_only=True)
class Copies:
    """The lines of ``%files`` blocks with the same ``words`` (``"from build"``), as pairs of source and destination.

    Apptainer 1.4.5 (``internal/pkg/build/stage.go``, copyFiles and copyFilesFrom) copies from the machine that builds where
    the words are nothing or a comment, and from a stage where they are two, whatever the first of them is. All other words,
    even a second blank after ``%files``, make it copy nothing, without a message.
    """

    words: str
    pairs: tuple[tuple[str, str], ...]

    @property
    def is_from_host(self) -> bool:
        """Tell whether the sources are on the machine that builds."""
        return not self.words.partition("#")[0]

    @property
    def stage(self) -> str:
        """Return the stage that the sources are in; empty where they are in none."""
        words = self.words.partition("#")[0].split()
        return words[1] if len(words) == 2 else ""


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

    Raises `DefinitionError` for names without a value, and for build arguments that no stage uses: for all of them at once,
    where Apptainer stops at the first.
    """
    used: set[str] = set()
    missing: dict[str, str] = {}
    result = "".join(_substitute_stage(part, build_args, used, missing) for part in split_stages(text))
    if missing:
        raise DefinitionError(
            f"the definition uses {', '.join(missing.values())}, but neither %arguments of that stage nor a build argument "
            f"gives {', '.join(missing)} a value"
        )
    unused = [name for name in build_args if name not in used]
    known = set(TEMPLATE.findall(text))
    if behind := [name for name in unused if name in known]:
        raise DefinitionError(
            f"the build argument {' and '.join(map(repr, behind))} stands only behind a '#' in its lines, where Apptainer "
            "replaces nothing, a comment or not; put it into a line of its own"
        )
    if unused:
        raise DefinitionError(
            f"the build argument {' and '.join(map(repr, unused))} is not used in the definition, which Apptainer refuses; "
            f"known are: {', '.join(sorted(known)) or 'none'}"
        )
    return result


def _substitute_stage(part: str, build_args: Mapping[str, str], used: set[str], missing: dict[str, str]) -> str:
    """Replace the templates of one stage; note the names that are `used`, and the templates whose value is `missing`."""
    stages = read_definition(part)
    values = {**(stages[0].arguments if stages else {}), **build_args}
    pieces: list[str] = []
    done = size = 0
    for match in TEMPLATE.finditer(part):
        line_start = max(done, part.rfind("\n", done, match.start()))
        if _COMMENT.search(part, line_start, match.start()):
            continue
        if match[1] not in values:
            missing.setdefault(match[1], match[0])
            continue
        nested = _nested(values[match[1]], values)
        size += len(nested)
        if size > MOST_PUT_IN:
            raise _too_long()
        pieces += [part[done : match.start()], nested]
        used.add(match[1])
        done = match.end()
    return "".join([*pieces, part[done:]])


def _nested(value: str, values: Mapping[str, str]) -> str:
    """Put values into a value, one level deep."""
    size = 0

    def one(inner: re.Match[str]) -> str:
        nonlocal size
        text = values.get(inner[1], inner[0])
        size += len(text)
        if size > MOST_PUT_IN:
            raise _too_long()
        return text

    return TEMPLATE.sub(one, value)


def _too_long() -> DefinitionError:
    return DefinitionError(
        f"the values of arguments that a stage puts in have more than {MOST_PUT_IN} characters together; put long text into "
        "a file and copy that with %files"
    )


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
        return _app_section(line, name, words)
    return name, words


def _app_section(line: str, name: str, words: str) -> tuple[str, str]:
    """Split ``%apprun NAME``: one blank before the name, and unlike other sections' the word itself in small letters.

    Apptainer 1.4.5 refuses the rest: "could not be split into section name and app name", "invalid section(s) specified"
    (``parseTokenSection``), "no BuildApp record for app" (``internal/pkg/build/apps/apps.go``).
    """
    app, _, words = words.partition(" ")
    if not app:
        raise DefinitionError(
            f"the section {line.strip()!r} names no app; write '%{name} NAME', with one blank before the name"
        )
    if not line.lstrip("%").startswith(f"{name} "):
        raise DefinitionError(f"the section {line.strip()!r} must be in small letters, unlike other sections: %{name} {app}")
    return f"{name} {app}", words


def _read_header(text: str) -> dict[str, str]:
    header: dict[str, str] = {}
    key, value = "", ""
    for raw in (*text.strip().split("\n"), ""):
        line = raw.strip()
        if not line or line.startswith("#"):
            if key:
                raise DefinitionError(
                    f"the header {key!r} ends with a backslash, but no line with the rest follows; take the backslash away"
                )
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
            value = f"{value.removesuffix(_NEW_LINE)}\n" if value.endswith(_NEW_LINE) else value
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
            if not words:
                raise DefinitionError(
                    f"%files: the line {line!r} holds a quote that is not closed, and no file's name; correct it"
                )
            yield words[0], words[1] if len(words) > 1 else ""
