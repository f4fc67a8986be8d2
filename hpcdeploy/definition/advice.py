"""What Apptainer does with a definition otherwise than its writer may expect: said aloud, since Apptainer says nothing.

Each rule was seen in Apptainer's source (``pkg/build/types/parser/deffile.go``, ``internal/pkg/build/stage.go``,
``internal/pkg/build/files``) and by running Apptainer 1.4.5; nothing here is an error.
"""

import re
from collections.abc import Callable, Iterator

from hpcdeploy.definition.grammar import TEMPLATE, Section, Stage

SCRIPTS = ("runscript", "startscript", "test")
_STOPS = re.compile(r"^[ \t]*set[ \t]+(-\w*e|-o[ \t]+errexit)", re.MULTILINE)
_NESTED = re.compile(r"^[^=\n]*=.*\{\{", re.MULTILINE)
# An escaped character, which is no quote; a quoted text; a comment. An escape is read as one inside quotes and outside of
# them: so behind a quote that nothing closes no other one is tried.
_QUOTED = re.compile(r"""(\\[\s\S])|'[^']*'|"(?:\\[\s\S]|[^"\\])*+"|(?<!\S)#.*""")
_EXIT = re.compile(r"(?:^|[;&|{)]|\b(?:then|else|do)\b)[ \t]*(exit\b(?![=\w-])|exec[ \t]+(?![<>&\d]))", re.MULTILINE)
_NOT_KEPT = re.compile(r"/(tmp|var/tmp|proc|sys|dev)(/|$)")

Rule = Callable[[Stage], Iterator[str]]


def advise(stages: tuple[Stage, ...]) -> tuple[str, ...]:
    """Return one sentence for each thing in these stages, as `read_definition` gives them, that a person should know."""
    notes: list[str] = []
    for number, stage in enumerate(stages, 1):
        name = stage.header.get("stage") or str(number)
        where = f"stage {name}: " if len(stages) > 1 else ""
        notes += [f"{where}{note}" for rule in RULES for note in rule(stage)]
    return tuple(dict.fromkeys(notes))


def _post(stage: Stage) -> Iterator[str]:
    for section in _named(stage, "post"):
        if section.body.lstrip().startswith("#!"):
            yield "%post begins with '#!', which is a comment there: write '%post -c /bin/bash' to have another shell"
        words = section.words.split()
        if "-c" in words and not _STOPS.search(section.body) and "-e" not in words[words.index("-c") + 1 :]:
            yield "%post -c runs on after a command that failed, and the build succeeds: begin it with 'set -e'"


def _scripts(stage: Stage) -> Iterator[str]:
    for name in SCRIPTS:
        for section in _named(stage, name):
            first, _, rest = section.body.partition("\n")
            if section.words:
                yield f"%{name} {section.words}: words after the name break its first line: write '#!' lines instead"
            if not first.lstrip().startswith("#!") and any(line.lstrip().startswith("#!") for line in rest.splitlines()):
                yield f"%{name}: its '#!' is not in the very first line, so it is a comment, and /bin/sh reads the script"


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
            yield "%test goes on after a command that failed, and only the last one decides: begin it with 'set -e'"


def _labels(stage: Stage) -> Iterator[str]:
    for line in stage.section("labels").splitlines():
        if "\t" in line.strip().partition(" ")[0]:
            yield f"%labels: the tab in {line.strip()!r} is part of the label's name: put a space after the name"


def _templates(stage: Stage) -> Iterator[str]:
    for section in stage.sections:
        for line in section.body.splitlines():
            for match in TEMPLATE.finditer(line):
                if re.search(r"#[^!]", line[: match.start()]):
                    yield (
                        f"%{section.name}: {match[0]} comes after a '#' in {line.strip()!r}, where Apptainer 1.3 and later "
                        "leaves it as it stands"
                    )
    if _NESTED.search(stage.section("arguments")):
        yield "%arguments: a value with {{ }} in it is replaced by Apptainer 1.3.5 and later only, and one level deep"


def _bases(stage: Stage) -> Iterator[str]:
    agent, base = stage.header.get("bootstrap", ""), stage.header.get("from", "")
    scheme = base.partition("//")[0]
    if agent == "docker" and base.startswith(f"{scheme}//") and scheme:
        yield (
            f"From: {base} under 'Bootstrap: docker' means a registry that is called {scheme!r}, since Apptainer puts "
            f"docker:// before it: write {base.removeprefix(scheme).lstrip('/')!r} alone"
        )


def _files(stage: Stage) -> Iterator[str]:
    for copies in stage.files:
        if not copies.is_from_host and not copies.stage:
            yield (
                f"'%files {copies.words}' copies nothing: Apptainer expects no words there (no second blank either), or "
                "'from' and the name of a stage"
            )
        if any(not source for source, _ in copies.pairs):
            yield '%files: a line names no source, only "", and is skipped'
        for source, destination in copies.pairs:
            if "'" in source + destination or source.endswith("\\"):
                yield f"%files: {source!r}: only double quotes hold a name with blanks together"
            if _NOT_KEPT.match(destination):
                yield f"%files: {destination} is the host's own folder while an image is built, and is not in the image"


def _environment(stage: Stage) -> Iterator[str]:
    if re.search(r"^[ \t]*(export[ \t]+)?LD_LIBRARY_PATH=", stage.section("environment"), re.MULTILINE):
        yield (
            "%environment sets LD_LIBRARY_PATH, which decides whether the container's libraries or the host's GPU "
            "libraries of --nv come first: leave it out where you can"
        )


def _exits(stage: Stage) -> Iterator[str]:
    """Point out ``exit`` and ``exec`` in scripts that are read by the interpreter which then starts the program.

    Source: Apptainer 1.4.5, ``internal/pkg/util/fs/files/action_script.sh`` (environment), ``95-apps.sh`` (apps). Nothing
    else runs, and the exit code is that of ``exit`` or of the other program.
    """
    for section in stage.sections:
        if section.name.partition(" ")[0] not in ("environment", "appenv"):
            continue
        if found := _EXIT.search(_QUOTED.sub(lambda match: match[1] or "", section.body)):
            yield (
                f"%{section.name}: {found[1].strip()!r} ends every container before its program starts, with the exit "
                "code 0 unless it names another, so that a job seems to have succeeded: leave it out"
            )


def _host(stage: Stage) -> Iterator[str]:
    for name in ("pre", "setup"):
        if stage.section(name).strip():
            yield f"%{name} runs on the machine that builds, outside of the container"


RULES: tuple[Rule, ...] = (_bases, _post, _scripts, _test, _labels, _templates, _files, _environment, _exits, _host)


def _named(stage: Stage, name: str) -> Iterator[Section]:
    return (section for section in stage.sections if section.name == name)
