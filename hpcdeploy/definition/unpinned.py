"""Find commands in a definition's scripts that download what is in no key, so that equal keys may not mean equal content."""

import re
from collections.abc import Iterator, Sequence

from hpcdeploy.definition.grammar import Stage

DOWNLOADS = {
    **dict.fromkeys(("curl", "wget"), frozenset[str]()),
    **dict.fromkeys(("apt-get", "apt"), frozenset({"install", "update", "upgrade", "dist-upgrade", "build-dep"})),
    **dict.fromkeys(("dnf", "yum", "zypper"), frozenset({"install", "update", "upgrade", "groupinstall", "in"})),
    "apk": frozenset({"add", "upgrade"}),
    "git": frozenset({"clone", "fetch", "pull", "submodule"}),
    **dict.fromkeys(("pip", "pip3"), frozenset({"install", "download", "wheel"})),
    "uv": frozenset({"install", "add", "sync"}),
    **dict.fromkeys(("conda", "mamba", "micromamba"), frozenset({"install", "create", "update"})),
    **dict.fromkeys(("npm", "cargo", "gem", "go"), frozenset({"install", "ci", "get"})),
}
"""Programs that download, each with the arguments of which it needs one for this; no arguments: it always downloads."""

_SCRIPTS = ("pre", "setup", "post")
_COMMENT = re.compile(r"(?m)^[ \t]*#.*$")
_BETWEEN = re.compile(r"[\n;&|(){}'\"]+")
_BEFORE = frozenset({"sudo", "exec", "env", "command", "then", "do", "else", "if", "while", "until", "!", "time", "nice"})
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=.*")
_PYTHON = re.compile(r"python[0-9.]*")


def unpinned_downloads(stages: Sequence[Stage]) -> tuple[str, ...]:
    """Return the names of the programs that the stages' scripts call to download something, in the order of the calls.

    The scripts are not executed, so a program that is called through a variable or another script is not found, and a
    command that never runs is.
    """
    bodies = (stage.section(name) for stage in stages for name in _SCRIPTS)
    return tuple(dict.fromkeys(name for body in bodies for name in _calls(body)))


def _calls(body: str) -> Iterator[str]:
    for command in _BETWEEN.split(_COMMENT.sub("", body.replace("\\\n", " "))):
        words = command.split()
        while words and (words[0] in _BEFORE or _ASSIGNMENT.fullmatch(words[0])):
            words.pop(0)
        if words[1:2] == ["-m"] and _PYTHON.fullmatch(words[0].rpartition("/")[2]):
            words = words[2:]
        name = words[0].rpartition("/")[2] if words else ""
        verbs = DOWNLOADS.get(name)
        if verbs is not None and (not verbs or verbs & set(words[1:])):
            yield name
