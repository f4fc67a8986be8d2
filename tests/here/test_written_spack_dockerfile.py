"""The Dockerfile of a Spack environment, built by a real podman with a stand-in for Spack that records its calls."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcdeploy_lab.base_image import reference
from hpcdeploy_lab.state import Lab
from tests.builds.spack_recorder import put_recorder
from tests.builds.test_spack_on_cluster import CALLS, DEMO, FILES, RECIPES
from tests.builds.test_spack_source import write
from tests.here.engines import Podman, podman_in

COMMAND = str(Path(sys.executable).with_name("hpcdeploy"))
SETTINGS = r"""
[image]
base = "BASE"
final-base = "FINAL"
files = { "tools" = "/opt/tools", "it's $x.csv" = "/opt/a table.csv" }
setup = [
    "demo > /opt/said-in-setup; echo '{{ COLOUR }}' >> /opt/said-in-setup",
    { run = 'printf %s "$KEY" | wc -c >> /opt/said-in-setup', secrets = ["KEY"] },
]
test = ["false"]
command = ["sh", "-c", "demo; echo $CC $0 \"$@\"", "words", "", "it's $HOME"]
start = ["false"]
environment = { DEMO_DATA = "it's \"ours\" $HOME \\ ✓", OMP_NUM_THREADS = "4" }
build-args = { COLOUR = "dark blue" }
ports = [8888, 9999]
bind-points = ["/host-libs", "/scratch/more"]
[image.labels]
"org.opencontainers.image.title" = "the example"
[image.secrets]
CACHE_USER = { env = "U" }
CACHE_TOKEN = { file = "token" }
KEY = { env = "KEY" }
[image.spack]
environment = "env"
target = "x86_64_v3"
repos = ["repo"]
recipes = { py-ray = "py_ray.package.py" }
push-cache = "cache"
cc = "/opt/tools/cc"
cxx = "/opt/tools/cxx"
check = "check.sh"
jobs = 2
user = { name = "pdi", uid = 1777, gid = 1888, home = "/srv/home of pdi" }
secrets = ["CACHE_USER", "CACHE_TOKEN"]
"""
SECRETS = {"CACHE_USER": "marker-of-a-user-4711", "CACHE_TOKEN": "marker-of-a-token-4712", "KEY": "marker-of-a-key-4713"}
OPTIONS = ("--isolation=chroot", "--tls-verify=false", "--layers=false")


@pytest.fixture(scope="module")
def podman(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    with podman_in(tmp_path_factory.mktemp("podman")) as ready:
        yield ready


@pytest.fixture(scope="module")
def recorder(lab: Lab) -> str:
    """Give the address of the base image with the stand-in."""
    return put_recorder(lab).replace("ghcr.io", lab.registry)


def generate(folder: Path, settings: str) -> None:
    (folder / "hpcdeploy.toml").write_text(settings)
    subprocess.run([COMMAND, "generate", "--format", "dockerfile", "-o", "Dockerfile"], cwd=folder, check=True)


def build(podman: Podman, folder: Path, name: str, *options: str) -> "subprocess.CompletedProcess[bytes]":
    return podman("podman", "build", *OPTIONS, *options, f"--tag=localhost/{name}", ".", cwd=folder)


@pytest.fixture(scope="module")
def built(podman: Podman, lab: Lab, recorder: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's folder, whose Dockerfile was written by the command and built as ``localhost/whole``."""
    folder = write(tmp_path_factory.mktemp("written") / "project", FILES)
    for tool in (folder / "tools").iterdir():
        tool.chmod(0o755)
    write(folder, {"it's $x.csv": "1,2\n", "it's .csv": "another\n", "left-out": "no\n", **SECRETS})
    (folder / "it's $x.csv").chmod(0o600)
    (folder / "tools").chmod(0o700)
    generate(folder, SETTINGS.replace("BASE", recorder).replace("FINAL", reference(lab)))
    done = build(podman, folder, "whole", *(f"--secret=id={name},src={folder}/{name}" for name in SECRETS))
    assert done.returncode == 0, (done.stdout + done.stderr).decode()
    return folder


def run(podman: Podman, folder: Path, *words: str, image: str = "whole", options: tuple[str, ...] = ()) -> str:
    command = ("podman", "run", "--rm", *options, f"localhost/{image}", *words)
    return podman(*command, cwd=folder, check=True).stdout.decode()


def test_spack_is_called_as_for_a_definition_with_the_secrets_only_where_they_are_needed(
    podman: Podman, built: Path
) -> None:
    assert run(podman, built, "cat", "/opt/spack-environment/recorded-calls") == CALLS
    assert run(podman, built, "cat", "/opt/spack-environment/recorded-recipes") == RECIPES


def test_its_command_runs_with_every_word_after_the_check(podman: Podman, built: Path) -> None:
    done = podman("podman", "run", "--rm", "localhost/whole", cwd=built, check=True)
    assert done.stdout.decode() == f"{DEMO}/opt/tools/cc words  it's $HOME\n"
    assert done.stderr.decode() == "checked with /opt/view/bin/demo\n"
    failed = podman("podman", "run", "--rm", "--env=FAIL_CHECK=/", "localhost/whole", "echo", "ran", cwd=built)
    assert (failed.returncode, failed.stdout) == (1, b"")


def test_words_run_in_the_active_environment_as_the_user(podman: Podman, built: Path) -> None:
    show = (
        'demo; echo "$SPACK_ENV|$MANPATH|$CC|$CXX"; echo "$PATH" | cut -d: -f1; '
        'echo "$(id -u):$(id -g):$(id -un)|$HOME|$PWD"; touch "$HOME/mine" /var/log/pdi/mine; '
        "ls -l /opt/software > /dev/null; wc -l < /opt/spack-environment/spack.yaml"
    )
    assert run(podman, built, "sh", "-c", show).splitlines() == [
        DEMO.strip(),
        "/opt/spack-environment|/opt/view/share/man::|/opt/tools/cc|/opt/tools/cxx",
        "/opt/view/bin",
        "1777:1888:pdi|/srv/home of pdi|/srv/home of pdi",
        str(FILES["env/spack.yaml"].count("\n")),
    ]


def test_variables_of_the_settings_win_over_the_activation_and_the_user_s_over_both(podman: Podman, built: Path) -> None:
    show = ("sh", "-c", 'echo "$DEMO_DATA|$OMP_NUM_THREADS|$CC"')
    assert run(podman, built, *show) == 'it\'s "ours" $HOME \\ ✓|4|/opt/tools/cc\n'
    given = ("--env=DEMO_DATA=mine", "--env=OMP_NUM_THREADS=8")
    assert run(podman, built, *show, options=given) == "mine|8|/opt/tools/cc\n"


def test_the_image_holds_what_the_definition_s_has_and_nothing_of_the_build(podman: Podman, built: Path) -> None:
    show = "readlink /opt/view /opt/view/bin/demo; cat '/opt/a table.csv' /opt/said-in-setup; ls -d /host-libs /scratch/more"
    length = len(SECRETS["KEY"])
    assert run(podman, built, "sh", "-c", show).splitlines() == [
        *("/opt/._view/abcdef", "/opt/software/linux-x86_64_v3/demo-1.0-abcdef/bin/demo", "1,2", DEMO.strip()),
        *("dark blue", str(length), "/host-libs", "/scratch/more"),
    ]
    held = set(run(podman, built, "ls", "-A", "/opt", "/opt/spack-environment").split())
    assert {"spack.yaml", "spack.lock", "entrypoint.sh", "environment-check", "tools"} <= held
    assert not {"hpcdeploy", "configs", "spack", ".view", "left-out"} & held


def test_a_user_has_the_settings_of_the_image_to_read(podman: Podman, built: Path) -> None:
    told = json.loads(podman("podman", "image", "inspect", "localhost/whole", cwd=built, check=True).stdout)[0]["Config"]
    assert set(told["ExposedPorts"]) == {"8888/tcp", "9999/tcp"}
    labels = told["Labels"]
    assert labels["io.github.hpcdeploy.spack.target"] == "x86_64_v3"
    assert labels["io.github.hpcdeploy.lock"].startswith("sha256:")
    assert (labels["org.example.from"], labels["org.opencontainers.image.title"]) == ("spack.yaml", "the example")
    assert told["User"] == "pdi"


def test_no_secret_is_in_the_image(podman: Podman, built: Path) -> None:
    archive = built.parent / "image.tar"
    podman("podman", "save", "--format=oci-dir", f"--output={archive}", "localhost/whole", cwd=built, check=True)
    line = f"for f in {archive}/blobs/sha256/* {archive}/*; do [ -d $f ] || zcat -f $f; done"
    found = subprocess.run(["sh", "-c", line], capture_output=True, check=True).stdout
    assert b"recorded-calls" in found
    assert not [name for name, value in SECRETS.items() if value.encode() in found]


def test_a_secret_that_is_not_given_stops_the_build(podman: Podman, built: Path) -> None:
    done = build(podman, built, "none", f"--secret=id=CACHE_USER,src={built}/CACHE_USER")
    assert done.returncode != 0
    assert b"CACHE_TOKEN" in done.stderr


MANAGER = '#!/bin/sh\necho "apt-get $*" >> /opt/asked\n'
DEEP = {
    "stacks/gpu/spack.yaml": (
        "spack:\n  specs: [demo]\n  include: [../../_config/site.yaml]\n"
        "  container:\n    os_packages: {command: apt, build: [git], final: [libgomp1, libfoo++]}\n    strip: true\n"
    ),
    "_config/site.yaml": (
        "view:\n  default: {root: ./v, select: [demo]}\n  tools: {root: /srv/our/tools}\n"
        "packages:\n  all: {target: [zen4]}\n  hdf5: {require: '@1.14: +mpi'}\n"
    ),
}


def test_a_deep_environment_with_views_and_system_packages_of_the_image(
    podman: Podman, lab: Lab, recorder: str, tmp_path: Path
) -> None:
    bases = {"deep-build": recorder, "deep-final": reference(lab)}
    for name, base in bases.items():
        folder = write(tmp_path / name, {"apt-get": MANAGER, "Dockerfile": f"FROM {base}\nCOPY apt-get /usr/bin/\n"})
        (folder / "apt-get").chmod(0o755)
        # The lab's images have no history, and this podman refuses to add layers to layers without it.
        done = build(podman, folder, name, "--squash-all")
        assert done.returncode == 0, done.stderr.decode()
    project = write(tmp_path / "project", DEEP)
    build_base, final_base = (f"localhost/{name}" for name in bases)
    generate(
        project,
        f'[image]\nspack = {{ environment = "stacks/gpu" }}\nbase = "{build_base}"\nfinal-base = "{final_base}"\n'
        'setup = ["cp /opt/asked /opt/asked-there"]\n',
    )
    done = build(podman, project, "deep")
    assert done.returncode == 0, done.stderr.decode()
    calls = run(podman, project, "cat", "/opt/spack-environment/recorded-calls", image="deep").splitlines()
    options = (
        "-c config:install_tree:root:/opt/software -c packages:all:require:[target=zen4] "
        '-c packages:hdf5:require::["@1.14: +mpi", "target=zen4"] -c view:default:root:/opt/view'
    )
    environment = "/opt/spack-environment/stacks/gpu"
    assert calls[1:] == [
        *(f"{options} -e {environment} {words}" for words in ("concretize", "install --fail-fast", "gc -y")),
        f"{options} env activate --sh -d .",
    ]
    show = 'demo; echo "$SPACK_ENV"; readlink /opt/view /srv/our/tools; /srv/our/tools/bin/demo; cat /opt/asked-there'
    assert run(podman, project, "sh", "-c", show, image="deep").splitlines() == [
        *(DEMO.strip(), environment, "/opt/._view/abcdef", "/srv/our/._tools/abcdef", DEMO.strip()),
        *("apt-get -q update", "apt-get -qy install libgomp1 libfoo++"),
    ]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ('base = "FINAL"\nfinal-base = "FINAL"\nspack = {}\n', b"the base image has no spack: neither in PATH nor in"),
        (
            'base = "BASE"\nfinal-base = "FINAL"\nspack = { cc = "/opt/none" }\n',
            b"CC must be /opt/none, but the final image has no such compiler",
        ),
    ],
)
def test_a_base_image_that_lacks_something_stops_the_build(
    podman: Podman, lab: Lab, recorder: str, tmp_path: Path, settings: str, said: bytes
) -> None:
    project = write(tmp_path, {"spack.yaml": "spack: {specs: [demo]}\n"})
    generate(project, "[image]\n" + settings.replace("BASE", recorder).replace("FINAL", reference(lab)))
    done = build(podman, project, "broken")
    assert done.returncode != 0
    assert said in done.stdout + done.stderr


def test_an_environment_without_a_view_has_none(podman: Podman, lab: Lab, recorder: str, tmp_path: Path) -> None:
    project = write(tmp_path, {"spack.yaml": "spack:\n  specs: [demo]\n  view: false\n  container: {strip: true}\n"})
    generate(project, f'[image]\nspack = {{}}\nbase = "{recorder}"\nfinal-base = "{reference(lab)}"\n')
    done = build(podman, project, "bare")
    assert done.returncode == 0, done.stderr.decode()
    show = 'ls -Ad /opt/*view*; command -v demo || echo none; /opt/software/*/*/bin/demo; echo "$SPACK_ENV"'
    said = run(podman, project, "sh", "-c", f"{{ {show}; }} 2> /dev/null", image="bare")
    assert said == f"none\n{DEMO}/opt/spack-environment\n"
