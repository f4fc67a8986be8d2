"""A lab's state folder as its init finds it."""

import shutil
from pathlib import Path

from hpcdeploy.private import private_folder
from hpcdeploy_lab import daemons, ports
from hpcdeploy_lab.settings import LabSettings, Ports


def prepare(settings: LabSettings, root: Path) -> Ports:
    """Lay out the state folder: layers for the root, folders that the lab sees, its files, its plan; return its ports.

    The folder is for its owner alone; what lies in it has the modes that the lab needs, whatever the umask.
    Home, scratch, the registry's store and what the daemons remember stay from the last start; ``/tmp`` does not.
    """
    folder = private_folder(settings.state)
    stamp = folder / "rootfs"
    if stamp.exists() and stamp.read_text() != root.name:  # a layer fits only the root that it was written over
        shutil.rmtree(folder / "upper", ignore_errors=True)
    stamp.write_text(root.name)
    for name in ("files", "tmp", "work"):
        shutil.rmtree(folder / name, ignore_errors=True)
    logs = folder / "inside" / "log"
    if logs.exists():
        shutil.rmtree(folder / "inside" / "log.previous", ignore_errors=True)
        logs.replace(folder / "inside" / "log.previous")
    for name in ("lower", "upper", "work", "root", "home", "scratch", "tmp", "registry", "files", "inside/log"):
        _open_folder(folder / name, below=folder)
    (folder / "inside" / "status.json").unlink(missing_ok=True)
    chosen = ports.choose(settings, ports.read(folder / "ports.json"), ports.shuffled())
    ports.write(folder / "ports.json", chosen)
    for name, text in daemons.files(settings, chosen).items():
        path = folder / "files" / name
        _open_folder(path.parent, below=folder)
        path.write_text(text)
        path.chmod(0o644)
    _copy_from_machine(folder / "files")
    (folder / "inside" / "plan.json").write_text(daemons.plan(settings, chosen))
    shutil.copyfile(Path(__file__).with_name("init.py"), folder / "inside" / "init.py")
    return chosen


def _open_folder(path: Path, *, below: Path) -> None:
    """Make `path` and what is missing above it, `below` a private folder, with the mode that the lab's users need: 0755.

    What the lab itself has there keeps the modes that it gave.
    """
    for missing in reversed([one for one in (path, *path.parents) if one.is_relative_to(below) and not one.exists()]):
        missing.mkdir()
        missing.chmod(0o755)


def _copy_from_machine(files: Path) -> None:
    """Let the lab find and trust the hosts that this machine finds and trusts."""
    for name in ("etc/resolv.conf", "etc/ssl/certs/ca-certificates.crt"):
        source = Path("/") / name
        if source.is_file():
            target = files / name
            _open_folder(target.parent, below=files.parent)
            shutil.copyfile(source, target)
            target.chmod(0o644)
