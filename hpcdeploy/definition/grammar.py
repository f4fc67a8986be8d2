"""Parse a definition file exactly as Apptainer does: stages, headers, sections, arguments.

Source: ``pkg/build/types/parser/deffile.go`` and ``internal/pkg/build/args`` of Apptainer 1.3 to 1.5. This
parser copies the oddities of that code, so that it predicts what a build does.
"""

import re
from collections.abc import Iterator, Mapping
from itertools import pairwise

from hpcdeploy.errors import DefinitionError
from hpcdeploy.frozen import frozen

SECTION_LIMIT = 64 * 1024
"""Maximum number of bytes in a section plus the following line, which Apptainer reads into one bufio.Scanner of Go."""

MOST_PUT_IN = 16 * 1024 * 1024
"""Maximum number of characters that templates insert into one stage.

A section has at most 64 KiB, but it can insert a long value many times. So this limit bounds the memory.
"""

_BLANK = r"[\t\n\f\r ]"
"""Go's ``\\s`` (https://pkg.go.dev/regexp/syntax). Unlike Python's, it has no vertical tab and nothing beyond ASCII."""

TEMPLATE = re.compile(rf"\{{\{{{_BLANK}*(\w+){_BLANK}*\}}\}}", re.ASCII)
"""A template, which Apptainer replaces by an argument's value."""

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
"""These two characters mean a line break if they precede the backslash that continues a header."""
_PLAIN = r"""[^\t\n\f\r "']"""
_FILE_WORD = re.compile(
    rf"""(?:{_PLAIN}*\{{\{{{_BLANK}*\w+{_BLANK}*\}}\}}*[^\t\n\f\r {{}}"']*)+|{_PLAIN}+|"[^"]*"|'[^']*""", re.ASCII
)


@frozen
class Section:
    """All text of a stage under one section name.

    Attributes:
        name: The section's name; for a section of an app, the name and the app, such as ``apprun demo``.
        words: The arguments after the name.
        body: The text below the line with the name.
    """

    name: str
    words: str
    body: str


@frozen
class Copies:
    """The lines of all ``%files`` blocks with the same arguments, as pairs of source and destination.

    Apptainer 1.4.5 (``internal/pkg/build/stage.go``, copyFiles and copyFilesFrom) chooses the origin by the arguments:

    - No argument, or only a comment: copy from the build host.
    - Exactly two arguments: copy from the stage that the second one names. The first one may be any word.
    - Anything else, even a second space after ``%files``: copy nothing, without a message.

    Attributes:
        words: The arguments, such as ``"from build"``.
        pairs: Pairs of a source and a destination; the destination is empty if the line has only one word.
    """

    words: str
    pairs: tuple[tuple[str, str], ...]

    @property
    def is_from_host(self) -> bool:
        """Tell whether the sources are on the build host."""
        return not self.words.partition("#")[0]

    @property
    def stage(self) -> str:
        """Return the name of the stage that contains the sources; empty if the arguments name no stage."""
        words = self.words.partition("#")[0].split()
        return words[1] if len(words) == 2 else ""


@frozen
class Stage:
    """One stage.

    Attributes:
        header: The values of the headers, by keys in lower case.
        sections: All sections except ``%files``, in the order in which their names first occur.
        files: The ``%files`` blocks.
    """

    header: Mapping[str, str]
    sections: tuple[Section, ...]
    files: tuple[Copies, ...]

    def section(self, name: str) -> str:
        """Return the text of a section; empty if there is no such section."""
        return next((section.body for section in self.sections if section.name == name), "")

    @property
    def arguments(self) -> dict[str, str]:
        """Return the default values in ``%arguments``, by name. Quotes around a value are part of the value."""
        lines = (line.strip() for line in self.section("arguments").splitlines())
        pairs = (line.partition("=") for line in lines if "=" in line and not line.startswith("#"))
        return {name.strip(): value.strip() for name, _, value in pairs}


def split_stages(text: str) -> tuple[str, ...]:
    """Split a definition at each ``Bootstrap:`` in column 0, which is the first thing that Apptainer does."""
    starts = [match.start() for match in _STAGE.finditer(text)]
    edges = [0, *starts, len(text)]
    return tuple(text[start:end] for start, end in pairwise(edges) if start < end)


def read_definition(text: str) -> tuple[Stage, ...]:
    """Read all stages without replacing templates.

    Raises:
        DefinitionError: Apptainer would reject the definition.
    """
    stages = (_read_stage(part) for part in split_stages(text))
    return tuple(stage for stage in stages if stage.header or stage.sections or stage.files)


def substitute(text: str, build_args: Mapping[str, str]) -> str:
    """Replace the templates of every stage, as ``apptainer build --build-arg`` does.

    Raises:
        DefinitionError: Templates have no value, no stage uses a build argument, the inserted values are too long, or
            Apptainer would reject the definition. The message lists all such templates or arguments; Apptainer's message has
            only the first.
    """
    used: set[str] = set()
    missing: dict[str, str] = {}
    result = "".join(_substitute_stage(part, build_args, used, missing) for part in split_stages(text))
    if missing:
        raise DefinitionError(
            f"the definition uses {', '.join(missing.values())}, but neither %arguments of that stage nor a build argument "
            f"sets {', '.join(missing)}"
        )
    unused = [name for name in build_args if name not in used]
    known = set(TEMPLATE.findall(text))
    if behind := [name for name in unused if name in known]:
        raise DefinitionError(
            f"the build argument {' and '.join(map(repr, behind))} is used only after a '#' in a line, where Apptainer "
            "replaces no template, even outside of comments; move the template to a line without '#'"
        )
    if unused:
        raise DefinitionError(
            f"the build argument {' and '.join(map(repr, unused))} is not used in the definition, which Apptainer rejects; "
            f"known arguments: {', '.join(sorted(known)) or 'none'}"
        )
    return result


def _substitute_stage(part: str, build_args: Mapping[str, str], used: set[str], missing: dict[str, str]) -> str:
    """Replace the templates of one stage; add used names to `used`, and templates without a value to `missing`."""
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
    """Replace the templates in the value of an argument, but not the templates in the inserted texts.

    Raises:
        DefinitionError: The inserted texts are too long.
    """
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
    """Return the error for exceeding `MOST_PUT_IN`."""
    return DefinitionError(
        f"the build arguments of a stage insert more than {MOST_PUT_IN} characters in total; put long text into "
        "a file and copy the file with %files"
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
    """Yield the header and each section; a line that begins with ``%``, indented or not, starts a section."""
    pending: list[str] = []
    size = 0
    for raw in text.removesuffix("\n").split("\n"):
        line = raw.removesuffix("\r")
        size += len(line.encode()) + 1
        if size > SECTION_LIMIT:
            raise DefinitionError(
                f"the section that begins with {pending[0][:60] if pending else line[:60]!r} is longer than 64 KiB, "
                "Apptainer's limit; put its text into a file and copy that with %files"
            )
        if line.lstrip().startswith("%"):
            if any(pending):
                yield "\n".join(pending) + "\n"
            pending, size = [], len(line.encode()) + 1
        pending.append(line)
    if any(line.strip() for line in pending):
        yield "\n".join(pending) + "\n"


def _section_name(line: str) -> tuple[str, str]:
    """Split the first line of a section, such as ``%post -c /bin/bash``, into the name and the arguments.

    Only a space ends the name. A line with white space before the ``%`` has an empty name, which is rejected.

    Raises:
        DefinitionError: No section has this name, or the section of an app is malformed.
    """
    name, _, words = line.lstrip("%").partition(" ")
    name = name.lower()
    if name not in SECTIONS:
        raise DefinitionError(
            f"the line {line[:60]!r} begins with '%', so Apptainer reads it as a section, but no section is named {name!r}; "
            "put such text into a file and copy the file with %files"
        )
    if name.startswith("app"):
        return _app_section(line, name, words)
    return name, words


def _app_section(line: str, name: str, words: str) -> tuple[str, str]:
    """Split ``%apprun NAME``. Exactly one space must precede the name, and the keyword must be lower case.

    The keywords of sections without an app may have capitals. Apptainer 1.4.5 rejects any other form of ``%apprun``: "could
    not be split into section name and app name", "invalid section(s) specified" (``parseTokenSection``), "no BuildApp record
    for app" (``internal/pkg/build/apps/apps.go``).

    Raises:
        DefinitionError: The line has no name, or the keyword has capitals.
    """
    app, _, words = words.partition(" ")
    if not app:
        raise DefinitionError(
            f"the section {line.strip()!r} names no app; use '%{name} NAME', with one space before the name"
        )
    if not line.lstrip("%").startswith(f"{name} "):
        raise DefinitionError(f"the section {line.strip()!r} must be lower case, unlike other sections: %{name} {app}")
    return f"{name} {app}", words


def _read_header(text: str) -> dict[str, str]:
    header: dict[str, str] = {}
    key, value = "", ""
    for raw in (*text.strip().split("\n"), ""):
        line = raw.strip()
        if not line or line.startswith("#"):
            if key:
                raise DefinitionError(f"the header {key!r} ends with a backslash, but no line follows; remove the backslash")
            continue
        line = line.split("#", 1)[0]
        if value:
            value += line.strip()
        else:
            key, colon, value = line.partition(":")
            if not colon:
                raise DefinitionError(f"the header line {raw!r} has no ':'; expected 'Key: value'")
            key, value = key.strip().lower(), value.strip()
        if value.endswith("\\"):
            value = value.removesuffix("\\")
            value = f"{value.removesuffix(_NEW_LINE)}\n" if value.endswith(_NEW_LINE) else value
            continue
        if key not in HEADERS and not re.fullmatch(r"otherurl\d+", key):
            raise DefinitionError(f"Apptainer does not know the header {key!r}")
        header[key] = value
        key, value = "", ""
    return header


def _copies(body: str) -> Iterator[tuple[str, str]]:
    for raw in body.strip().split("\n"):
        line = raw.strip()
        if line and not line.startswith("#"):
            words = [match[0].strip().strip('"') for match in _FILE_WORD.finditer(line)]
            if not words:
                raise DefinitionError(f"%files: the line {line!r} has an unclosed quote and no file name; close the quote")
            yield words[0], words[1] if len(words) > 1 else ""
