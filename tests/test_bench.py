import json
import subprocess
import sys
from pathlib import Path

from hpcdeploy.lab.state import Lab

ROOT = Path(__file__).parent.parent


def test_the_bench_measures_every_ratio(lab: Lab) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--pairs", "1", "--megabytes", "8"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    ratios = json.loads(done.stdout[done.stdout.index("[\n") :])
    assert [one["name"] for one in ratios] == ["hpcdeploy --help", "hpcdeploy render", "hpcdeploy submit", "push 8 MB"]
    assert all(one["ratio"] > 0 and one["ours"]["megabytes"] > 0 for one in ratios)
