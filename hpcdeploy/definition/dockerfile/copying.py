"""Translate COPY and ADD into files to stage, and shell lines that copy the staged files when the instruction runs.

The destination rules are BuildKit's (``solver/llbsolver/file/backend.go`` and the copier of tonistiigi/fsutil). A folder is
replaced by its content; a file goes into an existing folder; missing folders are created.
"""

import posixpath
import re
from collections.abc import Sequence

from hpcdeploy.definition.dockerfile.context import Context, has_wildcard, under
from hpcdeploy.definition.dockerfile.parsing import Instruction, here_word, listed
from hpcdeploy.definition.dockerfile.words import Lexer, Lookup, word, written
from hpcdeploy.frozen import frozen

HOST_FOLDERS = ("/proc", "/sys", "/dev", "/.singularity.d", "/.hpcdeploy")
"""Folders to which no instruction can copy: folders of the host, of Apptainer, and of hpcdeploy."""

TEMPORARY_FOLDERS = ("/tmp", "/var/tmp")  # noqa: S108 - folders of the image
"""Folders over which a stage mounts private folders if it uses them. So the image does not contain files in them."""

_REMOTE = re.compile(r"(?i)(https?|ftp|ssh|git)://|git@|\.git(#|$)")
_OCTAL = re.compile(r"[0-7]{1,4}")
_SYMBOLIC = re.compile(r"[ugoa]+[-+=][rwxX]*(,[ugoa]+[-+=][rwxX]*)*")
_SPECIAL = frozenset("{}()|!\\$`'\"\n\r\t#~")


@frozen
class StagedFile:
    """A file of the context (``source``) and its path in the stage's staging folder."""

    source: str
    place: str


@frozen
class Taken:
    """A path of another stage or image (``--from``), and its path in the stage's staging folder.

    Attributes:
        origin: The stage or image, as ``--from`` names it.
        path: The path or pattern in that stage or image.
        place: The path in the staging folder of this stage.
        instruction: The instruction that copies the path.
        gathered: Whether the other stage collects the files in a folder at its end. This is necessary if the path is a
            pattern, or if it is in the private ``/tmp`` or ``/var/tmp`` of the other stage, which that stage removes.
    """

    origin: str
    path: str
    place: str
    instruction: Instruction
    gathered: bool = False


@frozen
class Copy:
    """A translated COPY or ADD.

    Attributes:
        shell: Shell lines.
        destination: An absolute path; it ends in ``/`` if it must be a folder.
        files: The files of the context to stage.
        taken: The paths of other stages and images to stage.
        lost: The names of flags without effect in Apptainer.
    """

    shell: tuple[str, ...]
    destination: str
    files: tuple[StagedFile, ...] = ()
    taken: tuple[Taken, ...] = ()
    lost: tuple[str, ...] = ()


@frozen
class Copier:
    """Translator for COPY and ADD of one stage, with the stage's context, escape character, variables and working folder."""

    context: Context
    escape: str
    lookup: Lookup
    workdir: str

    def copy(self, instruction: Instruction, key: str) -> Copy:
        """Translate one instruction.

        Args:
            instruction: A COPY or ADD.
            key: The name of the staging folder for this instruction.

        Raises:
            DefinitionError: The instruction cannot be translated.
        """
        origin, mode, lost = self._flags(instruction)
        *sources, destination = self._words(instruction)
        destination = self._destination(instruction, destination)
        if not sources:
            raise instruction.refused("requires a source and a destination")
        shell: list[str] = []
        files: list[StagedFile] = []
        taken: list[Taken] = []
        things: list[str] = []
        unpacked: list[str] = []
        for number, source in enumerate(sources):
            place = f"{key}/{number:03}"
            if (found := here_word(source)) and instruction.here:
                shell += self._here(instruction, found[0], place)
                things.append(f'"$put"/{place}/{word(found[0])}')
            elif origin:
                taken.append(self._taken(instruction, origin, source, place))
                things += _things(taken[-1])
            else:
                for name, path in self._local(instruction, source):
                    archive = instruction.name == "ADD" and self._archive(instruction, path)
                    name = name or "context"  # noqa: PLW2901 - the context's own folder has no name
                    inner = f"{place}/{name}"
                    more_files, more_shell = self._staged(instruction, path, inner)
                    files += more_files
                    shell += more_shell
                    (unpacked if archive else things).append(f'"$put"/{word(inner)}')
        if (len(things) + len(unpacked) > 1) and not destination.endswith("/"):
            raise instruction.refused(f"has several sources; its destination must be a folder: use '{destination}/'")
        if things:
            shell.append(f"put {word(mode)} {word(destination)} {' '.join(things)}")
        shell += [f"unpack {word(destination)} {archive}" for archive in unpacked]
        shell.append(f'rm -rf "$put"/{key}')
        return Copy(shell=tuple(shell), destination=destination, files=tuple(files), taken=tuple(taken), lost=lost)

    def lend(self, instruction: Instruction, origin: str, source: str, key: str) -> tuple[Copy, str]:
        """Stage the source of a RUN's bind mount. Return the files to stage, and the staged path as a shell word.

        Raises:
            DefinitionError: The mount cannot be translated.
        """
        place = f"{key}/000"
        if origin:
            taken = self._taken(instruction, origin, source, place)
            return Copy(shell=(), destination="", taken=(taken,)), _things(taken)[0]
        if has_wildcard(source):
            raise instruction.refused(f"mounts {source!r}, but a mount must be one file or folder; use its name")
        [(name, path)] = self.context.sources(instruction, source)
        inner = f"{place}/{name or 'context'}"
        files, shell = self._staged(instruction, path, inner)
        return Copy(shell=tuple(shell), destination="", files=tuple(files)), f'"$put"/{word(inner)}'

    def _flags(self, instruction: Instruction) -> tuple[str, str, tuple[str, ...]]:
        origin, mode = "", ""
        lost: list[str] = []
        for name, value in instruction.flags:
            if name == "from" and instruction.name == "COPY":
                if "$" in value or not value:
                    raise instruction.refused(f"has --from={value}; use a literal stage or image")
                origin = value
            elif name == "chmod":
                mode = Lexer(escape=self.escape, lookup=self.lookup).word(value)
                if not _OCTAL.fullmatch(mode) and not _SYMBOLIC.fullmatch(mode):
                    raise instruction.refused(
                        f"has --chmod={value}; expected octal digits such as 0755, or a symbolic mode such as u=rwX,go=rX"
                    )
            elif name == "chown":
                if Lexer(escape=self.escape, lookup=self.lookup).word(value) not in ("root", "0", "root:root", "0:0"):
                    lost.append(name)
            elif name == "link" and value.lower() in ("", "true"):  # bflag.go: a flag without a value means true
                lost.append(name)
            elif name in ("link", "keep-git-dir", "unpack") and value.lower() == "false":
                if name == "unpack":
                    raise instruction.refused("has --unpack=false; use COPY, which unpacks nothing")
            else:
                raise instruction.refused(f"has --{name}, which is not supported; remove it")
        return origin, mode, tuple(lost)

    def _words(self, instruction: Instruction) -> list[str]:
        lexer = Lexer(escape=self.escape, lookup=self.lookup)
        return [text if instruction.here and here_word(text) else lexer.word(text) for text in listed(instruction)]

    def _destination(self, instruction: Instruction, text: str) -> str:
        path = text if text.startswith("/") else f"{self.workdir.rstrip('/')}/{text}"
        clean = posixpath.normpath(path).replace("//", "/")
        if under(HOST_FOLDERS, clean):
            raise instruction.refused(
                f"copies into {clean}, which belongs to the host during a build and is not part of the image; "
                "use another destination, such as /opt/build"
            )
        return clean if clean == "/" or not (text.endswith(("/", "/.")) or text in (".", "")) else f"{clean}/"

    def _here(self, instruction: Instruction, name: str, place: str) -> list[str]:
        document = next(document for document in instruction.here if document.name == name)
        text = document.content
        if "/" in name or name in (".", ".."):
            raise instruction.refused(f"has a here-document named {name!r}, which is not a file name")
        if document.expand:
            text = Lexer(escape=self.escape, lookup=self.lookup, quotes=False).word(text)
        target = f'"$put"/{place}/{word(name)}'
        if not text:
            return [f'mkdir -p "$put"/{place}', f": > {target}"]
        return [f'mkdir -p "$put"/{place}', "printf '%s\\n' \\", *written(text), f"    > {target}"]

    def _taken(self, instruction: Instruction, origin: str, source: str, place: str) -> Taken:
        path = posixpath.normpath("/" + source).replace("//", "/")
        if path == "/" or under(HOST_FOLDERS, path):
            raise instruction.refused(
                f"copies {path} from {origin}, but during a build that path belongs to the host"
                if path != "/"
                else f"copies all of {origin}; name the folders that are needed"
            )
        if odd := next((character for character in path if character in _SPECIAL), ""):
            raise instruction.refused(f"copies {source!r}, but %files cannot express {odd!r}; rename the file")
        if has_wildcard(path) and (instruction.name == "RUN" or "**" in path or "[^" in path or '"' in path):
            raise instruction.refused(
                f"copies {source!r}, a pattern that a shell matches differently; use '*', '?' or [a-z]"
            )
        gathered = has_wildcard(path) or under(TEMPORARY_FOLDERS, path)
        return Taken(origin=origin, path=path, place=place, instruction=instruction, gathered=gathered)

    def _local(self, instruction: Instruction, source: str) -> tuple[tuple[str, str], ...]:
        if instruction.name == "ADD" and _REMOTE.search(source):
            raise instruction.refused(
                f"fetches {source!r}; download it in a RUN and check its sha256, or download it into the project and COPY it"
            )
        return self.context.sources(instruction, source)

    def _archive(self, instruction: Instruction, path: str) -> bool:
        if path and self.context.entries[path].kind == "file" and self.context.is_archive(path):
            if any(name == "chmod" for name, _ in instruction.flags):
                raise instruction.refused("unpacks an archive with --chmod; unpack it in a RUN and change modes there")
            return True
        return False

    def _staged(self, instruction: Instruction, path: str, place: str) -> tuple[list[StagedFile], list[str]]:
        """Return the files to stage for a file or a folder, and shell lines that restore what staging loses.

        Staging loses modes, links and empty folders.
        """
        files: list[StagedFile] = []
        shell: list[str] = []
        own = self.context.entries.get(path)
        listing = {"": own} if own and own.kind == "file" else {}
        if own is None or own.kind == "folder":
            shell.append(f'mkdir -p "$put"/{word(place)}')
            listing = self.context.under(path)
        later: list[str] = []
        for name, entry in sorted(listing.items()):
            target = f"{place}/{name}" if name else place
            quoted = f'"$put"/{word(target)}'
            if "\0" in target or not target.isprintable():
                raise instruction.refused(f"copies {name!r}, a name with an unprintable character; rename it")
            if entry.kind == "link":
                shell += [f"mkdir -p {_parent(target)}", f"ln -s {word(entry.target)} {quoted}"]
            elif entry.kind == "folder":
                if not any(other.startswith(f"{name}/") for other in listing):
                    shell.append(f"mkdir -p {quoted}")
                if entry.mode != 0o755:
                    later.append(f"chmod {entry.mode:04o} {quoted}")
            else:
                files.append(StagedFile(source=f"{path}/{name}" if name and path else name or path, place=target))
                if entry.mode != (0o755 if entry.mode & 0o111 else 0o644):
                    shell.append(f"chmod {entry.mode:04o} {quoted}")
        return files, [*shell, *later]


def _parent(target: str) -> str:
    return f'"$put"/{word(posixpath.dirname(target))}'


def _things(taken: Taken) -> Sequence[str]:
    if has_wildcard(taken.path):
        return [f'"$put"/{taken.place}/given/*/{pattern}' for pattern in ("*", ".[!.]*", "..?*")]
    inner = "given/*/" if taken.gathered else ""
    return [f'"$put"/{taken.place}/{inner}{word(posixpath.basename(taken.path))}']
