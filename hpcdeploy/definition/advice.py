"""Find parts of a definition that Apptainer accepts silently although they may not do what the author expects.

Each rule was confirmed in Apptainer's source (``pkg/build/types/parser/deffile.go``, ``internal/pkg/build/stage.go``,
``internal/pkg/build/files``) and by running Apptainer 1.4.5. A rule only yields notes and never raises an error.
"""

import re
from collections.abc import Callable, Iterator

from hpcdeploy.definition.grammar import TEMPLATE, Section, Stage

SCRIPTS = ("runscript", "startscript", "test")
_STOPS = re.compile(r"^[ \t]*set[ \t]+(-\w*e|-o[ \t]+errexit)", re.MULTILINE)
_NESTED = re.compile(r"^[^=\n]*=.*\{\{", re.MULTILINE)
# One match is an escaped character (group 1), a quoted text, or a comment. After an unclosed double quote, only escaped
# double quotes can follow, and group 1 matches these. So the search for a closing quote starts once, and the time is linear.
_QUOTED = re.compile(r"""(\\[\s\S])|'[^']*'|"(?:\\[\s\S]|[^"\\])*+"|(?<!\S)#.*""")
_EXIT = re.compile(r"(?:^|[;&|{)]|\b(?:then|else|do)\b)[ \t]*(exit\b(?![=\w-])|exec[ \t]+(?![<>&\d]))", re.MULTILINE)
_NOT_KEPT = re.compile(r"/(tmp|var/tmp|proc|sys|dev)(/|$)")

Rule = Callable[[Stage], Iterator[str]]


def advise(stages: tuple[Stage, ...]) -> tuple[str, ...]:
    """Return one note for each unexpected effect in stages from `read_definition`, without duplicates."""
    notes: list[str] = []
    for number, stage in enumerate(stages, 1):
        name = stage.header.get("stage") or str(number)
        where = f"stage {name}: " if len(stages) > 1 else ""
        notes += [f"{where}{note}" for rule in RULES for note in rule(stage)]
    return tuple(dict.fromkeys(notes))


def _post(stage: Stage) -> Iterator[str]:
    for section in _named(stage, "post"):
        if section.body.lstrip().startswith("#!"):
            yield "%post begins with '#!', which is only a comment in %post: use '%post -c /bin/bash' to choose a shell"
        arguments = section.words.split()
        if "-c" in arguments and not _STOPS.search(section.body) and "-e" not in arguments[arguments.index("-c") + 1 :]:
            yield "%post -c continues after a failed command, and the build succeeds: start it with 'set -e'"


def _scripts(stage: Stage) -> Iterator[str]:
    for name in SCRIPTS:
        for section in _named(stage, name):
            first, _, rest = section.body.partition("\n")
            if section.words:
                yield f"%{name} {section.words}: arguments after the name break its first line: use '#!' lines instead"
            if not first.lstrip().startswith("#!") and any(line.lstrip().startswith("#!") for line in rest.splitlines()):
                yield f"%{name}: its '#!' is not in the first line, so it is a comment, and /bin/sh runs the script"


def _test(stage: Stage) -> Iterator[str]:
    for section in _named(stage, "test"):
        commands = [line for line in section.body.splitlines() if line.strip() and not line.lstrip().startswith("#")]
        shell = section.body.partition("\n")[0].split()
        stops = (
            shell[:1]
            and shell[0].startswith("#!")
            and any("e" in word and re.fullmatch(r"-\w+", word) for word in shell[1:])
        )
        if len(commands) > 1 and not stops and not _STOPS.search(section.body):
            yield "%test continues after a failed command, and only the last command is checked: start it with 'set -e'"


def _labels(stage: Stage) -> Iterator[str]:
    for line in stage.section("labels").splitlines():
        if "\t" in line.strip().partition(" ")[0]:
            yield f"%labels: the tab in {line.strip()!r} becomes part of the label's name: put a space after the name"


def _templates(stage: Stage) -> Iterator[str]:
    for section in stage.sections:
        for line in section.body.splitlines():
            for match in TEMPLATE.finditer(line):
                if re.search(r"#[^!]", line[: match.start()]):
                    yield (
                        f"%{section.name}: {match[0]} follows a '#' in {line.strip()!r}; Apptainer 1.3 and later does not "
                        "replace it"
                    )
    if _NESTED.search(stage.section("arguments")):
        yield "%arguments: {{ }} in a value is replaced only by Apptainer 1.3.5 and later, and only one level deep"


def _bases(stage: Stage) -> Iterator[str]:
    agent, base = stage.header.get("bootstrap", ""), stage.header.get("from", "")
    scheme = base.partition("//")[0]
    if agent == "docker" and base.startswith(f"{scheme}//") and scheme:
        yield (
            f"From: {base} under 'Bootstrap: docker' means a registry named {scheme!r}, because Apptainer puts "
            f"docker:// before it: use {base.removeprefix(scheme).lstrip('/')!r} alone"
        )


def _files(stage: Stage) -> Iterator[str]:
    for copies in stage.files:
        if not copies.is_from_host and not copies.stage:
            yield (
                f"'%files {copies.words}' copies nothing: Apptainer expects no arguments (and no second space), or "
                "'from' and the name of a stage"
            )
        if any(not source for source, _ in copies.pairs):
            yield '%files: a line has an empty source ("") and is skipped'
        for source, destination in copies.pairs:
            if "'" in source + destination or source.endswith("\\"):
                yield f"%files: {source!r}: only double quotes can enclose a name with spaces"
            if _NOT_KEPT.match(destination):
                yield f"%files: {destination} is the host's own folder during a build and does not become part of the image"


def _environment(stage: Stage) -> Iterator[str]:
    if re.search(r"^[ \t]*(export[ \t]+)?LD_LIBRARY_PATH=", stage.section("environment"), re.MULTILINE):
        yield (
            "%environment sets LD_LIBRARY_PATH, which decides whether the container's libraries or the host's GPU "
            "libraries (--nv) are found first: remove the variable if possible"
        )


def _exits(stage: Stage) -> Iterator[str]:
    """Report ``exit`` and ``exec`` in ``%environment`` and ``%appenv``.

    The interpreter that runs these two scripts also starts the container's program afterwards. So ``exit`` or ``exec`` ends
    the container before its program starts. Source: Apptainer 1.4.5, ``internal/pkg/util/fs/files/action_script.sh``
    (environment), ``95-apps.sh`` (apps).
    """
    for section in stage.sections:
        if section.name.partition(" ")[0] not in ("environment", "appenv"):
            continue
        if found := _EXIT.search(_QUOTED.sub(lambda match: match[1] or "", section.body)):
            yield (
                f"%{section.name}: {found[1].strip()!r} ends every container before its program starts. The exit code is 0 "
                "unless this command sets another, so a job would appear to succeed: remove this command"
            )


def _host(stage: Stage) -> Iterator[str]:
    for name in ("pre", "setup"):
        if stage.section(name).strip():
            yield f"%{name} runs on the build host, outside of the container"


RULES: tuple[Rule, ...] = (_bases, _post, _scripts, _test, _labels, _templates, _files, _environment, _exits, _host)


def _named(stage: Stage, name: str) -> Iterator[Section]:
    return (section for section in stage.sections if section.name == name)
