import json
import os
import re
import subprocess
import sys
from pathlib import Path

from hpcdeploy_lab.settings import default_settings
from hpcdeploy_lab.state import Lab

ROOT = Path(__file__).parent.parent
WAYS = ("", " with 50 ms more")


def test_the_bench_measures_every_ratio_and_leaves_nothing_behind(lab: Lab) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--pairs", "1", "--megabytes", "8", "--crowd", "20", "--packages", "1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    ratios = json.loads(done.stdout[done.stdout.index("[\n") :])
    starts = ["hpcdeploy --help", "hpcdeploy render"]
    submits = [f"hpcdeploy submit{way}" for way in WAYS]
    crowds = ["hpcdeploy submit, 20 tasks", *(f"hpcdeploy status, 2 runs{way}" for way in WAYS)]
    uploads = [
        name
        for size, way in zip((8, 1), WAYS, strict=True)
        for name in (f"hpcdeploy submit with {size} MB to upload{way}", f"upload of {size} MB without the submission{way}")
    ]
    names = [*starts, *submits, "hpcdeploy submit on the login node", *crowds, *uploads, "hpcdeploy push, 8 MB"]
    changes = ["nothing changed", "one line of code changed", "one line of code changed"]
    builds = [f"hpcdeploy build, {change}" for change in changes]
    direct = ["hpcdeploy build --builder direct, N MB, zstd 3"] * 2
    names += [*direct, *builds, "apptainer exec of an image of the direct builder"]
    assert [re.sub(r"[0-9]+ MB, zstd", "N MB, zstd", one["name"]) for one in ratios] == names
    for one in ratios:
        numbers = [one["ratio"], *one["ours"].values(), *one["theirs"].values()]
        assert all(number > 0 for number in numbers) or "without" in one["name"], one  # a difference of times may be below 0
    assert not default_settings().state.with_name("bench").exists()
    # What it pushes goes into a lab of its own.
    assert list((lab.state / "registry").rglob("repositories/*")) != []
    assert list((lab.state / "registry").rglob("repositories/bench")) == []


def test_a_command_that_fails_is_no_measurement() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from bench.pairs import take; take(['sh', '-c', 'echo why >&2; exit 7'])"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "sh ended with 7: why" in done.stderr
