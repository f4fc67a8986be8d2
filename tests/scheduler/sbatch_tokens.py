"""How sbatch itself cuts an #SBATCH line into words: the oracle that rendered directives are held against."""


def sbatch_words(line: str) -> list[str]:
    """Cut the text after ``#SBATCH`` as get_argument in Slurm's src/sbatch/opt.c does.

    White space parts words; quotes of either kind group and may stand inside a word; a backslash takes the next character as
    it is, inside quotes too; a bare ``#`` ends the line. ValueError stands for sbatch's fatal errors.
    """
    words: list[str] = []
    current: list[str] | None = None
    quote = ""
    characters = iter(line)
    for character in characters:
        if character == "\\":
            current = (current or []) + [next(characters, "")]
        elif quote:
            if character == quote:
                quote = ""
            else:
                current = (current or []) + [character]
        elif character in "'\"":
            quote, current = character, current or []
        elif character == "#":
            break
        elif character.isspace():
            if current is not None:
                words.append("".join(current))
            current = None
        elif character == ":" and current is None:
            raise ValueError("a word begins with a colon")
        else:
            current = (current or []) + [character]
    if quote:
        raise ValueError("a quote is left open")
    return [*words, "".join(current)] if current is not None else words
