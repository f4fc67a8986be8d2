"""Bringing an image from this machine to the cluster, as a submission does it, against ``scp``; near and far."""

import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.pairs import Pair, Taken, compare, take
from bench.subjects import SIF_HEADER, Place
from hpcdeploy.lab.inside import inside
from hpcdeploy.lab.state import Lab

ONE_WAY = 0.025
"""Seconds that each byte is on its way longer: 50 ms more for a question and its answer."""


def uploading(place: Place, lab: Lab, *, megabytes: int, pairs: int) -> Iterator[Pair]:
    """Compare submitting a held job whose image is a new file of random bytes with copying a file of the same size."""
    yield _compare(place, lab, str(lab.ssh_config), "", megabytes=megabytes, pairs=pairs)
    with _far(lab, place.project.parent) as config:
        yield _compare(place, lab, str(config), " with 50 ms more", megabytes=max(1, megabytes // 10), pairs=pairs)


def _compare(place: Place, lab: Lab, config: str, way: str, *, megabytes: int, pairs: int) -> Pair:
    path = place.project / "new.sif"
    copy = f"{lab.scratch}/copied"
    numbers = itertools.count()
    with path.open("wb") as file:
        file.write(SIF_HEADER.ljust(1024, b"\0"))
        for _ in range(megabytes):
            file.write(os.urandom(1_000_000))
    settings = place.project / "hpcdeploy.toml"
    mine = f'\n[clusters.bench]\nhost = "{lab.host}"\nssh-config = "{config}"\nroot = "{lab.scratch}/uploads"\n'
    text = settings.read_text(encoding="utf-8")
    settings.write_text(text + mine, encoding="utf-8")

    def ours() -> Taken:
        with path.open("r+b") as file:
            file.seek(64)
            file.write(b"%016d" % next(numbers))
        words = ("--cluster", "bench", "--scheduler", "slurm", "--slurm", "hold", "--image", str(path), "--", "true")
        taken = place.hpcdeploy("submit", "report", *words)
        inside(lab, ["sh", "-c", f"rm -f {lab.scratch}/uploads/images/*.sif"]).check_returncode()
        return taken

    def theirs() -> Taken:
        taken = take(["scp", "-q", "-F", config, str(path), f"{lab.host}:{copy}"])
        inside(lab, ["rm", "-f", copy]).check_returncode()
        return taken

    try:
        return compare(f"hpcdeploy submit, {megabytes} MB to bring{way}", f"scp{way}", ours, theirs, pairs=pairs)
    finally:
        settings.write_text(text, encoding="utf-8")
        path.unlink()


@contextmanager
def _far(lab: Lab, folder: Path) -> Iterator[Path]:
    """Give an SSH configuration that reaches the lab over a long way."""
    command = [sys.executable, "-m", "bench.delay", str(lab.ssh_port), str(ONE_WAY)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as delay:
        assert delay.stdout is not None
        try:
            port = delay.stdout.readline().strip()
            known = folder / "known_hosts"
            near = lab.ssh_config.read_text(encoding="utf-8")
            keys = lab.ssh_config.with_name("known_hosts").read_text(encoding="utf-8")
            known.write_text(keys.replace(f":{lab.ssh_port} ", f":{port} "), encoding="utf-8")
            far = near.replace(f"Port {lab.ssh_port}", f"Port {port}").replace(
                str(lab.ssh_config.with_name("known_hosts")), str(known)
            )
            config = folder / "far_ssh_config"
            config.write_text(far, encoding="utf-8")
            yield config
        finally:
            delay.terminate()
