# --- login/squashfs.py: Apptainer runs this instead of mksquashfs at the end of a build.
"""Make the files of an image repeatable, replace the places of the code by links, and run the real mksquashfs.

The arguments are those of mksquashfs: the folder with the image's files, the file system to write, and options. The first
argument is a JSON text with the values of `Plan`. The times of all files become the plan's time, because the time of each
file that a build writes would be in the image.

Python 3.6 or later, standard library only. There is no single quotation mark here: this is one quoted word of a script.
"""

import contextlib
import json
import os
import re
import stat
import struct
import sys
from typing import Dict, Iterator, List, NamedTuple, Optional

ROOT = ".hpcdeploy.d"  # the folder of the code in the root of the image
MARK = ".hpcdeploy-code"  # the only file in the place of a folder of code; the place of a file has this text
MOST_LINKS = 40  # as Linux follows in one path (MAXSYMLINKS)
MOST_BESIDE = 1000  # names beside the code, in each folder

# What programs write about the time or the machine of the build. Only files of this build are removed.
LOGS = (
    *("var/log/apt", "var/log/dpkg.log", "var/log/alternatives.log", "var/log/bootstrap.log"),
    *("var/log/dnf.log", "var/log/dnf.rpm.log", "var/log/dnf.librepo.log", "var/log/hawkey.log", "var/log/yum.log"),
    *("var/log/zypper.log", "var/log/zypp", "var/log/apk.log", "var/log/lastlog", "var/log/faillog"),
    *("var/cache/ldconfig/aux-cache", "var/cache/apt/pkgcache.bin", "var/cache/apt/srcpkgcache.bin"),
    *("var/cache/debconf/config.dat-old", "var/cache/debconf/templates.dat-old", "var/lib/dpkg/status-old"),
    *("var/lib/dpkg/available-old", "var/lib/dpkg/diversions-old", "var/lib/dpkg/statoverride-old"),
)
TIMED_PYC = struct.Struct("<4sIII")  # magic, flags, time and size of the source (PEP 552); flags 0: the time is compared

# Options that the plan replaces, and whether a value follows.
REPLACED = {"-all-time": True, "-mkfs-time": True, "-fstime": True, "-inode-time": True, "-no-progress": False}
COMPRESSING = {"-comp": True, "-Xcompression-level": True, "-b": True}


class Plan(NamedTuple):
    """What to do in a build."""

    program: str  # the real mksquashfs
    epoch: int  # the time of all files, in seconds since 1970
    options: List[str]  # further options, such as the compression
    rewrites: List[List[str]]  # pairs of a regular expression and a text, for the texts that Apptainer wrote
    places: List[str]  # the paths in the image at which the code will be
    started: float  # the time at which the build began, in seconds since 1970
    report: str  # the file to write, see write_report


class UnfitError(Exception):
    """The code cannot be appended to this image; the message tells why."""


def inside(root: str, path: str) -> str:
    """Return the path on this machine of the image file or folder `path`, as the image's own links lead to it.

    The last component is not followed. A link never leads out of the image.
    """
    names = [name for name in path.split("/") if name]
    done = []  # type: List[str]
    links = 0
    while names:
        name = names.pop(0)
        if name == "..":
            done = done[:-1]
        elif name != ".":
            here = os.path.join(root, *done, name)
            if names and os.path.islink(here):
                links += 1
                if links > MOST_LINKS:
                    raise UnfitError(f"{path} has too many links")
                target = os.readlink(here)
                done = [] if target.startswith("/") else done
                names = [part for part in target.split("/") if part] + names
            else:
                done.append(name)
    return os.path.join(root, *done)


def beside(root: str, places: "List[str]") -> "Dict[str, List[str]]":
    """Return the names in each folder above a place, by the folder, without the folders on the way to the places.

    A program that resolves its own path finds these names beside the code too (`Path(__file__).resolve().parents[1]`).
    """
    found = {}  # type: Dict[str, List[str]]
    way = {place[:end] for place in places for end in range(1, len(place) + 1) if place[end : end + 1] in ("/", "")}
    for folder in sorted(way - set(places)):
        names = sorted(name for name in os.listdir(inside(root, folder + "/.")) if folder + "/" + name not in way)
        if len(names) <= MOST_BESIDE:
            found[folder] = names
    return found


def link(root: str, place: str) -> None:
    """Replace the place of the code by a link to the folder of the code."""
    path = inside(root, place)
    try:
        if stat.S_ISDIR(os.lstat(path).st_mode):
            if os.listdir(path) != [MARK]:
                raise UnfitError(f"the image has other files in {place}")
            os.unlink(os.path.join(path, MARK))
            os.rmdir(path)
        else:
            with open(path, encoding="utf-8", errors="replace") as file:
                if os.path.islink(path) or file.read(100) != MARK:
                    raise UnfitError(f"the image has another file at {place}")
            os.unlink(path)
    except OSError as error:
        raise UnfitError(f"{place}: {error.strerror}") from error
    os.symlink("/" + ROOT + place, path)


def check_places(root: str, places: "List[str]") -> None:
    """Raise UnfitError unless each place has only the mark. Nothing is changed, so that the image stays complete."""
    if os.path.lexists(os.path.join(root, ROOT)):
        raise UnfitError(f"the image has a file /{ROOT}")
    for place in places:
        path = inside(root, place)
        if os.path.isdir(path) and not os.path.islink(path):
            marked = os.listdir(path) == [MARK]
        else:
            marked = os.path.isfile(path) and not os.path.islink(path) and os.path.getsize(path) == len(MARK)
        if not marked:
            raise UnfitError(f"the image has other files at {place}")


def rewrite(path: str, plan: Plan) -> None:
    """Replace the time of the build and the addresses of mirrors in a text that Apptainer wrote."""
    with contextlib.suppress(OSError):
        if os.path.islink(path) or not os.path.isfile(path):
            return
        with open(path, "rb") as file:
            old = file.read()
        new = old
        for pattern, text in plan.rewrites:
            new = re.sub(pattern.encode(), text.encode().replace(b"\\", b"\\\\"), new)
        if new != old:
            with open(path, "wb") as file:
                file.write(new)


def files_under(path: str) -> "Iterator[str]":
    """Yield a file, or the files under a folder, sorted; links are not followed."""
    if os.path.isdir(path) and not os.path.islink(path):
        for name in sorted(os.listdir(path)):
            yield from files_under(os.path.join(path, name))
    elif os.path.lexists(path):
        yield path


def remove_logs(root: str, started: float) -> None:
    """Remove the logs and caches that this build has written or changed."""
    for name in LOGS:
        folder = inside(root, name)
        for path in files_under(folder):
            if os.lstat(path).st_mtime >= started - 1:
                with contextlib.suppress(OSError):
                    os.unlink(path)


def source_of(path: str) -> "Optional[str]":
    """Return the path of the source of a compiled Python file; None if there is none."""
    folder, name = os.path.split(path)
    if os.path.basename(folder) == "__pycache__":
        source = os.path.join(os.path.dirname(folder), name.split(".")[0] + ".py")
    else:
        source = path[:-1]
    return source if os.path.isfile(source) else None


def adjust_compiled(path: str, epoch: int) -> None:
    """Write the new time of the source into a compiled Python file, if Python would use the file.

    Python compares this time with the time of the source (PEP 552), so it would compile every module again at each start.
    """
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        head = os.read(file, TIMED_PYC.size)
    finally:
        os.close(file)
    if len(head) < TIMED_PYC.size:
        return
    _, flags, when, size = TIMED_PYC.unpack(head)
    source = source_of(path)
    if flags != 0 or when == epoch:
        return
    if source is not None:
        found = os.stat(source)
        if (int(found.st_mtime) & 0xFFFFFFFF, found.st_size & 0xFFFFFFFF) != (when, size):
            return
    mode = stat.S_IMODE(os.lstat(path).st_mode)
    if not mode & stat.S_IWUSR:
        os.chmod(path, mode | stat.S_IWUSR)
    with open(path, "r+b") as target:
        target.seek(8)
        target.write(struct.pack("<I", epoch))
    os.chmod(path, mode)


def adjust_all_compiled(root: str, epoch: int) -> int:
    """Adjust every compiled Python file of the image; return the number of those that could not be written."""
    left = 0
    for folder, _, names in os.walk(root):
        for name in names:
            if name.endswith(".pyc"):
                try:
                    adjust_compiled(os.path.join(folder, name), epoch)
                except OSError:
                    left += 1
    return left


def options_of(given: "List[str]", plan: Plan) -> "List[str]":
    """Return the options of mksquashfs: those of Apptainer, unless the plan replaces them, and those of the plan."""
    replaced = dict(REPLACED, **(COMPRESSING if "-comp" in plan.options else {}))
    rest = list(given)
    kept = []  # type: List[str]
    while rest:
        word = rest.pop(0)
        if word not in replaced:
            kept.append(word)
        elif replaced[word] and rest:
            rest.pop(0)
    return [*kept, *plan.options, "-all-time", str(plan.epoch), "-mkfs-time", str(plan.epoch)]


def write_report(path: str, problem: str, left: int, names: "Dict[str, List[str]]") -> None:
    """Write what was done, as fields that end with a NUL.

    The fields are the reason why the places of the code are no links (empty if they are), the number of compiled files that
    could not be changed, and pairs of a folder and a name beside the code.
    """
    fields = [problem, str(left), *(text for folder in names for name in names[folder] for text in (folder, name))]
    with open(path, "wb") as report:
        report.write(b"".join(os.fsencode(text) + b"\0" for text in fields))


def main(text: str, root: str, target: str, given: "List[str]") -> None:
    """Prepare the files and become mksquashfs."""
    plan = Plan(**json.loads(text))
    problem = ""
    names = {}  # type: Dict[str, List[str]]
    for name in ("labels.json", "Singularity"):
        rewrite(os.path.join(root, ".singularity.d", name), plan)
    if plan.places:
        try:
            check_places(root, plan.places)
            names = beside(root, plan.places)
            for place in plan.places:
                link(root, place)
        except (UnfitError, OSError) as error:
            problem, names = str(error), {}
    with contextlib.suppress(OSError):
        # In a folder with the setgid bit, the root of the image has the group of this folder.
        os.chown(root, os.geteuid(), os.getegid())
    remove_logs(root, plan.started)
    write_report(plan.report, problem, adjust_all_compiled(root, plan.epoch), names)
    environment = {name: value for name, value in os.environ.items() if name != "SOURCE_DATE_EPOCH"}
    os.execve(plan.program, [plan.program, root, target, *options_of(given, plan)], environment)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:])
