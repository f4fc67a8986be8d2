"""A Spack environment's definition through the real Apptainer, with a stand-in for Spack that records its calls.

Spack itself would compile for hours and fetch from everywhere: what is shown here is the definition around it. The base
image is the lab's own with ``spack_recorder.sh`` as ``/opt/spack/bin/spack``, where Spack's images have theirs.
"""

import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcdeploy.cluster import Cluster
from hpcdeploy.errors import BuildError
from hpcdeploy.flows.build import build_on
from hpcdeploy.flows.generate import generate
from hpcdeploy.image import BuiltImage, FileCopy, ImageSettings, Secret, Step
from hpcdeploy.secret import SecretValue
from hpcdeploy.source import SpackSource, User
from hpcdeploy.transport.contract import Transport
from hpcdeploy_lab.state import Lab
from tests.builds.spack_recorder import BASE, put_recorder
from tests.builds.test_build_on_cluster import shell
from tests.builds.test_spack_source import write
from tests.sessions import session
from tests.shared import OWN

PLAIN = "ghcr.io/prefix-dev/pixi:noble"
COMPILER = '#!/bin/sh\necho "a compiler, $0"\n'
CHECK = '#!/bin/sh\necho "checked with $(command -v demo)" >&2\n[ ! -e "$FAIL_CHECK" ]\n'
FILES = {
    "env/spack.yaml": """\
spack:
  specs: [demo]
  include: [../configs]
  mirrors:
    cache: {url: "oci://ghcr.io/me/cache", access_pair: {id_variable: CACHE_USER, secret_variable: CACHE_TOKEN}}
  container:
    strip: false
    labels: {org.example.from: spack.yaml}
""",
    "env/spack.lock": json.dumps(
        {
            "_meta": {"lockfile-version": 6},
            "roots": [{"hash": "a", "spec": "demo"}],
            "concrete_specs": {"a": {"name": "demo", "namespace": "mine.own", "arch": {"target": "x86_64_v3"}}},
        }
    ),
    "configs/config.yaml": "config: {}\n",
    "repo/spack_repo/mine/own/repo.yaml": "repo: {namespace: mine.own, api: v2.0}\n",
    "repo/spack_repo/mine/own/packages/demo/package.py": "# demo\n",
    "py_ray.package.py": "# ray\n",
    "check.sh": CHECK,
    "tools/cc": COMPILER,
    "tools/cxx": COMPILER,
}
SOURCE = SpackSource(
    environment="env",
    repos=("repo",),
    recipes=(("py-ray", "py_ray.package.py"),),
    push_cache="cache",
    cc="/opt/tools/cc",
    cxx="/opt/tools/cxx",
    check="check.sh",
    jobs=2,
    user=User(name="pdi", uid=1001, gid=1001),
    secrets=("CACHE_USER", "CACHE_TOKEN"),
)
SETTINGS = ImageSettings(
    name="spack",
    source=SOURCE,
    base=BASE,
    final_base=PLAIN,
    files=(FileCopy(source="tools", destination="/opt/tools"),),
    setup=(Step(run="demo > /opt/said-in-setup"),),
    test=("demo", "id pdi"),
    command=("sh", "-c", "demo; echo $CC"),
    secrets=(Secret(name="CACHE_USER", env="U"), Secret(name="CACHE_TOKEN", env="T")),
)
CALLS = """\
--version
repo add /opt/hpcdeploy/repos/0/spack_repo/mine/own
repo create /opt/hpcdeploy/recipes-repo hpcdeploy_recipes
repo add /opt/hpcdeploy/recipes-repo/spack_repo/hpcdeploy_recipes
C env view enable /opt/view
C install --fail-fast --only-concrete -j 2 [with CACHE_TOKEN CACHE_USER]
C buildcache push --update-index cache [with CACHE_TOKEN CACHE_USER]
C gc -y
-c config:install_tree:root:/opt/software env activate --sh -d .
""".replace("C ", "-c config:install_tree:root:/opt/software -e /opt/spack-environment ")
RECIPES = """\
/opt/hpcdeploy/repos/0/spack_repo/mine/own/packages/demo/package.py
/opt/hpcdeploy/recipes-repo/spack_repo/hpcdeploy_recipes/packages/py_ray/package.py
"""
DEMO = "demo 1.0 in /opt/software/linux-x86_64_v3/demo-1.0-abcdef\n"


@pytest.fixture(scope="module")
def recorder(lab: Lab) -> str:
    """The base image with the stand-in."""
    return put_recorder(lab)


@pytest.fixture(scope="module")
def image(recorder: str, place: Cluster, transport: Transport) -> Iterator[BuiltImage]:
    with tempfile.TemporaryDirectory() as folder:
        project = write(Path(folder), FILES)
        for tool in (project / "tools").iterdir():
            tool.chmod(0o755)
        assert SETTINGS.base == recorder
        definition = generate(SETTINGS, project)
        yield build_on(
            definition,
            session(place, transport),
            secrets={"CACHE_USER": SecretValue(b"somebody"), "CACHE_TOKEN": SecretValue(b"a-token-for-tests")},
        )


def test_spack_is_called_in_this_order_with_the_secrets_only_where_they_are_needed(
    image: BuiltImage, transport: Transport
) -> None:
    assert shell(transport, 'apptainer exec "$1" cat /opt/spack-environment/recorded-calls', image.path) == CALLS
    assert shell(transport, 'apptainer exec "$1" cat /opt/spack-environment/recorded-recipes', image.path) == RECIPES


@pytest.mark.parametrize(
    "start",
    [
        'apptainer run "$1" sh -c "$2"',
        'apptainer exec "$1" sh -c "$2"',
        'apptainer exec --cleanenv "$1" bash -c "$2"',
        'apptainer shell "$1" <<<"$2"',
        'apptainer instance start "$1" $3 >&2; apptainer exec "instance://$3" sh -c "$2"; apptainer instance stop $3 >&2',
        'home=$(mktemp -d) && apptainer exec --contain --home "$home" "$1" sh -c "$2"; rm -r "$home"',
    ],
    ids=["run", "exec sh", "exec bash", "shell", "instance", "contain, as HTCondor starts it"],
)
def test_the_environment_is_active_however_the_container_is_started(
    image: BuiltImage, transport: Transport, start: str
) -> None:
    show = 'demo; echo "$SPACK_ENV|$MANPATH|$DEMO_DATA|$CC|$CXX"; echo "$PATH" | cut -d: -f1'
    assert shell(transport, start, image.path, show, OWN) == (
        DEMO + "/opt/spack-environment|/opt/view/share/man::|its $here|/opt/tools/cc|/opt/tools/cxx\n/opt/view/bin\n"
    )


def test_the_view_is_a_link_into_its_own_folder_as_spack_made_it(image: BuiltImage, transport: Transport) -> None:
    line = 'apptainer exec "$1" sh -c "readlink /opt/view /opt/view/bin/demo; ls -A /opt; cat /opt/said-in-setup"'
    link, demo, *rest = shell(transport, line, image.path).splitlines()
    assert link == "/opt/._view/abcdef"
    assert demo == "/opt/software/linux-x86_64_v3/demo-1.0-abcdef/bin/demo"
    assert {"._view", "software", "spack-environment", "view", "pdi", "tools", "environment-check"} <= set(rest)
    assert not {"hpcdeploy", "configs", "spack"} & set(rest)
    assert rest[-1] == DEMO.strip()


def test_the_user_is_there(image: BuiltImage, transport: Transport) -> None:
    line = 'apptainer exec "$1" sh -c "getent passwd pdi; ls -d /opt/pdi /var/log/pdi"'
    assert shell(transport, line, image.path) == "pdi:*:1001:1001::/opt/pdi:/bin/false\n/opt/pdi\n/var/log/pdi\n"


def test_the_check_runs_before_the_command_and_can_stop_it(image: BuiltImage, transport: Transport) -> None:
    assert shell(transport, 'apptainer --quiet run "$1" 2>&1', image.path) == (
        "checked with /opt/view/bin/demo\n" + DEMO + "/opt/tools/cc\n"
    )
    stopped = 'if FAIL_CHECK=/ apptainer run "$1"; then echo ran; else echo stopped; fi'
    assert shell(transport, stopped, image.path) == "stopped\n"


def test_labels_say_the_target_and_what_spack_yaml_says(image: BuiltImage, transport: Transport) -> None:
    labels = shell(transport, 'apptainer inspect "$1"', image.path).splitlines()
    assert "io.github.hpcdeploy.spack.target: x86_64_v3" in labels
    assert "org.example.from: spack.yaml" in labels
    assert "compiled for x86_64_v3" in shell(transport, 'apptainer run-help "$1"', image.path)


def test_a_deep_environment_with_views_of_an_included_file(
    recorder: str, place: Cluster, transport: Transport, tmp_path: Path
) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True, capture_output=True)
    files = {
        "stacks/gpu/spack.yaml": "spack:\n  specs: [demo]\n  include: [../../_config/site.yaml]\n",
        "_config/site.yaml": (
            "view:\n  default: {root: ./v, select: [demo]}\n  tools: {root: /srv/our/tools}\n"
            "packages:\n  all: {target: [zen4]}\n  hdf5: {require: '@1.14: +mpi'}\n"
        ),
    }
    settings = ImageSettings(name="deep", source=SpackSource(), base=recorder, final_base=PLAIN)
    built = build_on(generate(settings, write(tmp_path, files) / "stacks/gpu"), session(place, transport))
    called = shell(transport, 'apptainer exec "$1" cat /opt/spack-environment/recorded-calls', built.path).splitlines()
    options = (
        "-c config:install_tree:root:/opt/software -c packages:all:require:[target=zen4] "
        '-c packages:hdf5:require::["@1.14: +mpi", "target=zen4"] -c view:default:root:/opt/view'
    )
    environment = "/opt/spack-environment/stacks/gpu"
    assert called[1:] == [
        *(f"{options} -e {environment} {words}" for words in ("concretize", "install --fail-fast", "gc -y")),
        f"{options} env activate --sh -d .",
    ]
    show = 'demo; echo "$SPACK_ENV"; readlink /opt/view /srv/our/tools; /srv/our/tools/bin/demo'
    assert shell(transport, 'apptainer exec "$1" sh -c "$2"', built.path, show) == (
        f"{DEMO}{environment}\n/opt/._view/abcdef\n/srv/our/._tools/abcdef\n{DEMO}"
    )
    assert "_config/site.yaml" in shell(transport, 'apptainer exec "$1" find /opt/spack-environment', built.path)


def test_an_environment_that_wants_no_view_has_none(
    recorder: str, place: Cluster, transport: Transport, tmp_path: Path
) -> None:
    settings = ImageSettings(name="bare", source=SpackSource(), base=recorder, final_base=PLAIN)
    text = "spack:\n  specs: [demo]\n  view: false\n  container: {strip: true}\n"
    built = build_on(generate(settings, write(tmp_path, {"spack.yaml": text})), session(place, transport))
    show = 'ls -Ad /opt/*view*; command -v demo || echo none; /opt/software/*/*/bin/demo; echo "$SPACK_ENV"'
    assert shell(transport, 'apptainer exec "$1" sh -c "$2" 2> /dev/null', built.path, show) == (
        f"none\n{DEMO}/opt/spack-environment\n"
    )


def test_a_base_image_without_spack_is_said(recorder: str, place: Cluster, transport: Transport, tmp_path: Path) -> None:
    settings = ImageSettings(name="none", source=SpackSource(), base=PLAIN, final_base=PLAIN)
    assert recorder != PLAIN
    with pytest.raises(BuildError, match="the base image has no spack"):
        build_on(generate(settings, write(tmp_path, {"spack.yaml": "spack: {}\n"})), session(place, transport))


def test_without_a_lock_file_the_build_concretizes_for_the_default_target(
    recorder: str, place: Cluster, transport: Transport, tmp_path: Path
) -> None:
    settings = ImageSettings(name="fresh", source=SpackSource(), base=recorder, final_base=PLAIN)
    built = build_on(
        generate(settings, write(tmp_path, {"spack.yaml": "spack: {specs: [demo]}\n"})), session(place, transport)
    )
    called = shell(transport, 'apptainer exec "$1" cat /opt/spack-environment/recorded-calls', built.path).splitlines()
    options = "-c config:install_tree:root:/opt/software -c packages:all:require:[target=x86_64_v3]"
    assert called[1:4] == [
        f"{options} -e /opt/spack-environment {words}"
        for words in ("env view enable /opt/view", "concretize", "install --fail-fast")
    ]
    assert shell(transport, 'apptainer run "$1" demo', built.path) == DEMO
