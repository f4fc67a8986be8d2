"""A RUN as lines of ``%post``: both forms, here-documents, and scripts that say by ``#!`` what runs them."""

from collections.abc import Sequence

from hpcdeploy.definition.dockerfile.parsing import Instruction, here_word
from hpcdeploy.definition.dockerfile.quoting import word, words, written

_HARMLESS = {"network": "default", "security": "sandbox"}


def run_lines(one: Instruction, shell: Sequence[str], begin: str) -> tuple[str, ...]:
    """Return the lines that do `one`; `DefinitionError` for a flag that Apptainer has nothing for.

    `shell` is the program and options of SHELL. `begin` names the function that runs its words with the variables and the
    working folder that are set so far.
    """
    for flag, value in one.flags:
        if _HARMLESS.get(flag) != value:
            raise one.refused(
                f"has --{flag}{value and '='}{value}, which Apptainer does not support; remove the option"
                f"{', and copy the files with COPY' if flag == 'mount' else ''}"
            )
    said = f"say {word(f'line {one.line}: RUN {one.rest[:100]}')}"
    if not one.here:
        argv = one.words if one.words is not None else (*shell, one.rest)
        if not argv:
            raise one.refused("has an empty array; name a program")
        return said, f"( {begin} {words(argv)} )"
    first = one.here[0]
    if here_word(one.rest) and first.text.startswith("#!"):
        if "/" in first.name:
            raise one.refused(f"has a here-document named {first.name!r}, which is no file name")
        script = f'"$private"/{word(first.name)}'
        lines = ("printf '%s\\n' \\", *written(first.content), f"    > {script}", f"chmod 0755 {script}")
        return said, *lines, f"( {begin} {script} )", f"rm -f {script}"
    text = first.content if here_word(one.rest) else one.rest + "".join(f"\n{each.text}{each.name}" for each in one.here)
    return said, "script=$(printf '%s\\n' \\", *written(text), "    )", f'( {begin} {words(shell)} "$script" )'
