"""Aliases in YAML are counted before a value is made of them; every input here is small."""

import resource
import subprocess
import sys

import pytest

from hpcdeploy.environments import yaml_text
from hpcdeploy.environments.pixi_lock import read_lock
from hpcdeploy.environments.yaml_text import YamlError, load_yaml
from hpcdeploy.errors import EnvironmentFileError

SECONDS = 20
"""Of the processor, for a child that reads one small file."""

ROOM = 400 * 2**20
"""Bytes of address space for it; Python and the libraries take 100 MiB of these."""

LEVELS = 60
TEXTS = {
    "aliases of aliases": "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, LEVELS)),
    "merge keys": "a0: &a0 {x: 1}\n"
    + "".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}], k{n}: 1}}\n" for n in range(1, LEVELS)),
    "a long text, named often": "a: &a " + "x" * 50_000 + "\npackages: [" + "*a," * 20_000 + "]\n",
    "a long text, named often, as an address": "a: &a "
    + "x" * 50_000
    + "\nversion: 6\npackages:\n- conda: ["
    + "*a," * 20_000
    + "]\n",
    "a number to the base of 60": "version: 1" + ":1" * 200_000,
    "a float to the base of 60": "version: 1" + ":1" * 200_000 + ".5",
    "keys that are aliases": "a: &a x\n" + "? *a\n: 1\n" * 1000,
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_small_lock_file_takes_neither_time_nor_memory(name: str) -> None:
    code = (
        "import resource, sys\n"
        "from hpcdeploy.environments.pixi_lock import read_lock\n"
        "from hpcdeploy.errors import EnvironmentFileError\n"
        f"resource.setrlimit(resource.RLIMIT_CPU, ({SECONDS}, {SECONDS}))\n"
        f"resource.setrlimit(resource.RLIMIT_AS, ({ROOM}, {ROOM}))\n"
        "try: read_lock(sys.stdin.read())\n"
        "except EnvironmentFileError as error: print(error)\n"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", code], input=TEXTS[name], capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.returncode, done.stderr[-500:], before)
    assert "pixi.lock" in done.stdout
    assert len(done.stdout) < 400


def test_the_limits_hold_where_they_are_and_can_be_lowered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml_text, "MOST", 7)
    assert load_yaml("[a, b, &c [d], *c]") == ["a", "b", ["d"], ["d"]]
    with pytest.raises(YamlError, match="more than 7 values"):
        load_yaml("[a, b, &c [d], *c, e]")
    monkeypatch.setattr(yaml_text, "MOST_CHARACTERS", 10)
    assert load_yaml("[&a abcde, *a]") == ["abcde", "abcde"]
    with pytest.raises(YamlError, match="more than 10 characters"):
        load_yaml("[&a abcde, *a, f]")


def test_a_number_of_honest_length_is_read() -> None:
    assert load_yaml("a: " + "9" * 300) == {"a": 10**300 - 1}
    with pytest.raises(EnvironmentFileError, match=r"line 2: .*a number has 600 characters"):
        read_lock("a: 1\nversion: " + "9" * 600)
