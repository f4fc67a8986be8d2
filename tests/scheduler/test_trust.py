"""Which images a script runs: owners, modes and the sha256 of what others can have written. As users that are not root."""

import hashlib
import os
import subprocess
import time
from pathlib import Path

import pytest

from hpcdeploy import shell
from hpcdeploy.cluster import Cluster
from hpcdeploy.remote.parallel_upload import receiving_records
from hpcdeploy.remote.upload_stream import receiving
from hpcdeploy.shell_script import assignments, library
from hpcdeploy.staged_files import StagedFile
from tests.users import ALICE, BOB

CONTENT = b"an image"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
CHECKED = "checking the sha256"


class Machine:
    """A folder for Alice, whose cache it is, and the shell functions of the scripts, run by her or by Bob."""

    def __init__(self, folder: Path) -> None:
        folder.chmod(0o755)
        self.folder = folder
        self.image = self.made(folder / "cache" / f"{SHA256}.sif")
        self.root = folder / "root"
        self.give(self.root, ALICE)

    def give(self, path: Path, user: int, mode: int = 0o700) -> None:
        path.mkdir(exist_ok=True)
        os.chown(path, user, ALICE)
        path.chmod(mode)

    def made(self, path: Path, user: int = ALICE, mode: int = 0o600) -> Path:
        self.give(path.parent, ALICE)
        path.write_bytes(CONTENT)
        os.chown(path, user, ALICE)
        path.chmod(mode)
        return path

    def run(self, text: str, *, user: int = ALICE, owners: tuple[str, ...] = ()) -> "subprocess.CompletedProcess[str]":
        functions = library(["owners.sh", "trust.sh", "open_lock.sh", "image_mode.sh"])
        # A job gets the functions as bash prints them (login/slurm/submit.sh).
        script = f"set -euo pipefail\numask 077\n{assignments({'image_cache_owners': owners})}\n{functions}\n"
        script += f'again=$(declare -f) && unset -f check_image && eval "$again"\n{text}\n'
        return as_user(script, user)

    def check(self, *, user: int = ALICE, owners: tuple[str, ...] = (), path: Path | None = None) -> str:
        """Return what the check of the image prints: nothing, that it was read, or why it is refused."""
        words = shell.words((str(path or self.image), SHA256, str(self.root)))
        done = self.run(f'check_image {words} || echo "refused: $image_fault" >&2', user=user, owners=owners)
        assert done.returncode == 0, done.stderr
        return done.stderr

    def leave_alone(self) -> None:
        """Wait until the image was left alone for so long that it is remembered."""
        time.sleep(max(0, self.image.stat().st_ctime + 3 - time.time()))


def as_user(script: str, user: int) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["bash", "-s"],
        input=script,
        user=user,
        group=user,
        extra_groups=[ALICE],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        env={"PATH": os.environ["PATH"]},
    )


@pytest.fixture
def machine(short: Path) -> Machine:
    return Machine(short)


def test_an_image_that_only_we_can_have_written_is_not_read(machine: Machine) -> None:
    machine.image.write_bytes(b"not even an image")
    assert machine.check() == ""
    assert not (machine.root / "verified").exists()


@pytest.mark.parametrize("change", ["folder", "file", "link", "above"])
def test_what_others_can_have_written_is_compared_with_its_sha256(machine: Machine, change: str) -> None:
    cache = machine.image.parent
    path = machine.image
    if change == "folder":
        cache.chmod(0o2770)
    elif change == "file":
        machine.image.chmod(0o660)
    elif change == "link":
        machine.give(machine.folder / "shared", ALICE, 0o770)
        (machine.folder / "shared" / "images").symlink_to("../cache")
        path = machine.folder / "shared" / "images" / machine.image.name
    else:
        machine.folder.chmod(0o777)
    assert machine.check(path=path).startswith(CHECKED)
    path.write_bytes(b"another one")
    path.chmod(0o660 if change == "file" else 0o600)
    for _ in range(2):
        said = machine.check(path=path)
        assert "does not match the checksum in its name" in said, said
        assert (
            f"its sha256 is {hashlib.sha256(b'another one').hexdigest()}, and it belongs to {ALICE}" in said
            or change == "file"
        )


def test_the_sticky_bit_keeps_others_from_exchanging_what_is_ours(machine: Machine) -> None:
    machine.folder.chmod(0o1777)
    assert machine.check() == ""


@pytest.mark.parametrize("what", ["file", "link"])
def test_a_second_name_of_a_file_of_ours_in_a_sticky_folder_is_compared(machine: Machine, what: str) -> None:
    """Where fs.protected_hardlinks is 0, others can make one there; the test's is made by root."""
    shared = machine.folder / "shared"
    machine.give(shared, ALICE, 0o1777)
    other = machine.made(machine.folder / "private" / "other.sif")
    other.write_bytes(b"another image of ours")
    if what == "link":
        (machine.folder / "private" / "link").symlink_to(other)
        os.chown(machine.folder / "private" / "link", ALICE, ALICE, follow_symlinks=False)
        other = machine.folder / "private" / "link"
    path = shared / machine.image.name
    os.link(other, path, follow_symlinks=False)
    assert "does not match the checksum in its name" in machine.check(path=path)
    other.unlink()
    assert machine.check(path=path) == "", "with one name it is what its owner, who is trusted, made of it"


def test_a_second_name_of_an_image_in_a_folder_of_ours_changes_nothing(machine: Machine) -> None:
    machine.folder.chmod(0o1777)
    os.link(machine.image, machine.image.with_name("second"))
    assert machine.check() == ""


def test_a_check_is_remembered_until_the_file_changes(machine: Machine) -> None:
    machine.image.parent.chmod(0o770)
    assert machine.check().startswith(CHECKED)
    assert machine.check().startswith(CHECKED), "a file that was changed in the last two seconds must not be remembered"
    machine.leave_alone()
    assert machine.check().startswith(CHECKED)
    assert machine.check() == ""
    times = machine.image.stat()
    machine.image.write_bytes(CONTENT[::-1])
    os.utime(machine.image, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert "does not match the checksum in its name" in machine.check(), (
        "size and time of the content are the same, ctime is not"
    )


def test_what_others_could_have_remembered_for_us_does_not_count(machine: Machine) -> None:
    machine.image.parent.chmod(0o770)
    machine.leave_alone()
    assert machine.check().startswith(CHECKED)
    assert machine.check() == ""
    known = machine.root / "verified"
    known.chmod(0o770)
    assert machine.check().startswith(CHECKED)
    known.chmod(0o700)
    os.chown(known, BOB, BOB)
    assert machine.check().startswith(CHECKED)


def test_a_folder_or_an_image_of_somebody_else_is_refused_with_its_owner(machine: Machine) -> None:
    for path in (machine.image, machine.image.parent):
        os.chown(path, BOB, ALICE)
        said = machine.check()
        assert f"refused: {path} belongs to {BOB}, who could have put any image there; expected you or root" in said
        assert f'set image-cache-owners = ["{BOB}"]' in said
        os.chown(path, 0, 0)
        path.chmod(0o755)
        assert machine.check() == "", "root can change everything anyway"
        os.chown(path, ALICE, ALICE)


def test_a_cache_of_a_team_is_accepted_by_its_owners_names_and_still_compared(machine: Machine) -> None:
    cache = machine.image.parent
    machine.give(cache, BOB, 0o2775)
    os.chown(machine.image, BOB, ALICE)
    machine.image.chmod(0o640)
    assert "refused" in machine.check()
    assert "refused" in machine.check(owners=("daemon",))
    machine.leave_alone()
    assert machine.check(owners=("daemon", str(BOB))).startswith(CHECKED)
    assert machine.check(owners=(str(BOB),)) == ""
    machine.image.write_bytes(b"something else")
    assert "does not match the checksum in its name" in machine.check(owners=(str(BOB),))


def test_an_image_that_others_may_write_to_is_replaced_by_a_copy_or_refused(machine: Machine) -> None:
    machine.image.chmod(0o666)
    with machine.image.open("r+b") as held:
        assert machine.check().startswith(CHECKED)
        held.write(b"changed")
    assert (machine.image.read_bytes(), machine.image.stat().st_mode & 0o777) == (CONTENT, 0o644)
    assert machine.check() == ""
    assert list(machine.image.parent.iterdir()) == [machine.image]
    os.chown(machine.image, BOB, ALICE)
    machine.image.chmod(0o660)
    said = machine.check(owners=(str(BOB),))
    assert f"refused: others may write to the image {machine.image}; let its owner {BOB} remove it" in said
    os.chown(machine.image, ALICE, ALICE)
    machine.image.parent.chmod(0o777)
    assert "refused: everybody may write to the folder of images" in machine.check()


def test_a_lock_in_a_shared_folder_changes_nothing_that_a_link_leads_to(machine: Machine) -> None:
    victim = machine.made(machine.folder / "cache" / "thesis")
    lock = machine.folder / "cache" / ".room.lock"
    lock.symlink_to(victim)
    assert machine.run(f'open_lock {lock} && flock "$opened"').returncode == 0
    assert victim.read_bytes() == CONTENT


def test_a_lock_in_the_folder_of_a_group_is_for_the_group(machine: Machine) -> None:
    machine.image.parent.chmod(0o2770)
    lock = machine.image.parent / ".lock"
    for user in (ALICE, BOB):
        done = machine.run(f'open_lock {lock} && flock "$opened" && image_mode {lock.parent}', user=user)
        assert (done.returncode, done.stdout) == (0, "0640\n"), done.stderr
    machine.image.parent.chmod(0o700)
    assert machine.run(f"image_mode {lock.parent}").stdout == "0600\n"


@pytest.mark.parametrize("ending", ["parcel", "records", "ranges"])
@pytest.mark.parametrize("planted", ["folder", "link", "part"])
def test_an_upload_does_not_go_into_what_somebody_else_has_put_there(machine: Machine, planted: str, ending: str) -> None:
    staged = StagedFile(
        sha256=SHA256, size=len(CONTENT), path=str(machine.folder / "up" / "x.sif"), what="the image", source=""
    )
    folder, victim = machine.folder / "up", machine.made(machine.folder / "cache" / "thesis")
    machine.give(folder, BOB if planted == "folder" else ALICE, 0o777)
    part = folder / f".{SHA256}.{ending}"
    if planted == "link":
        part.symlink_to(victim)
    elif planted == "part":
        part.touch()
        os.chown(part, BOB, BOB)
        part.chmod(0o666)
    cluster = Cluster(name="c", root=str(machine.root))
    expected = f"belongs to {BOB}, who could replace the image" if planted == "folder" else "another user's file, or a link"
    for script in (receiving(staged, cluster), receiving_records(staged, cluster, is_first=True)):
        done = as_user(script, ALICE)
        assert done.returncode == 10, done.stderr
        assert expected in done.stderr
    assert victim.read_bytes() == CONTENT
    assert not (folder / "x.sif").exists()
