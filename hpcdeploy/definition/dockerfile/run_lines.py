"""Translate a RUN into lines of ``%post``: both forms, here-documents, and scripts with a ``#!`` line."""

from collections.abc import Sequence

from hpcdeploy.definition.dockerfile.parsing import Instruction, here_word
from hpcdeploy.definition.dockerfile.quoting import word, words, written

_HARMLESS = {"network": "default", "security": "sandbox"}


def run_lines(one: Instruction, shell: Sequence[str], begin: str) -> tuple[str, ...]:
    """Return the lines that run `one`.

    Args:
        one: The RUN, without mounts.
        shell: The program and options of SHELL.
        begin: The name of the function that runs its arguments with the current variables and working folder.

    Raises:
        DefinitionError: Apptainer has no equivalent for a flag, or the arguments are malformed.
    """
    for flag, value in one.flags:
        if _HARMLESS.get(flag) != value:
            raise one.refused(
                f"has --{flag}{value and '='}{value}, which Apptainer does not support; remove the option"
                f"{', and copy the files with COPY' if flag == 'mount' else ''}"
            )
    log = f"say {word(f'line {one.line}: RUN {one.rest[:100]}')}"
    if not one.here:
        argv = one.words if one.words is not None else (*shell, one.rest)
        if not argv:
            raise one.refused("has an empty array; name a program")
        return log, f"( {begin} {words(argv)} )"
    first = one.here[0]
    if here_word(one.rest) and first.text.startswith("#!"):
        if "/" in first.name:
            raise one.refused(f"has a here-document named {first.name!r}, which is not a file name")
        script = f'"$private"/{word(first.name)}'
        lines = ("printf '%s\\n' \\", *written(first.content), f"    > {script}", f"chmod 0755 {script}")
        return log, *lines, f"( {begin} {script} )", f"rm -f {script}"
    text = first.content if here_word(one.rest) else one.rest + "".join(f"\n{each.text}{each.name}" for each in one.here)
    return log, "script=$(printf '%s\\n' \\", *written(text), "    )", f'( {begin} {words(shell)} "$script" )'
