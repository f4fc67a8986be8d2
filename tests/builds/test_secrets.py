"""A build that uses secrets keeps none: every byte that it leaves is searched, and every process while it runs."""

import hashlib
import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from hpcdeploy.apptainer.build_progress import BuildEvent
from hpcdeploy.cluster import Cluster
from hpcdeploy.definition.parts import with_mount_point
from hpcdeploy.errors import BuildError, TransportError
from hpcdeploy.flows.build import build_on, fetch_built
from hpcdeploy.flows.generate import generate
from hpcdeploy.flows.secrets import read_secrets
from hpcdeploy.image import BuiltImage, Definition, Secret, Step
from hpcdeploy.secret import SecretValue
from hpcdeploy.store import Store
from hpcdeploy.transport.connect import open_transport
from hpcdeploy.transport.contract import Transport
from hpcdeploy_lab.state import Lab
from tests.builds.conftest import EXAMPLE, SETTINGS, Quick
from tests.builds.searching import Seen, holding, needles, watching
from tests.sessions import session
from tests.shared import OWN

ROOT = f"{OWN}/secrets"
PAUSE = f"/tmp/{OWN}-pause"
NOT_ASKED = (
    'for file in /run/secrets/TOKEN /run/secrets/CERT; do [ ! -e "$file" ]; done; [ -z "${TOKEN+set}" ]; set -x; true'
)


@dataclass(frozen=True, kw_only=True)
class Marker:
    """Two secrets of this test run alone: a variable with awkward characters, a file of several lines and any bytes."""

    token: str
    cert: bytes
    needles: tuple[bytes, ...]
    since: float


@pytest.fixture
def marker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Marker:
    since = time.time()
    first, second = secrets.token_hex(16), secrets.token_hex(16)
    token = f'it\'s "{first}" $HOME `id` \\ ✓'
    cert = f"-----BEGIN\n{second}\n\0\xff".encode("latin-1") + bytes(range(256)) + b"\n-----END\n\n"
    monkeypatch.setenv("MARKED_TOKEN", token)
    (tmp_path / "cert").write_bytes(cert)
    return Marker(token=token, cert=cert, needles=needles(first.encode()) + needles(second.encode()), since=since)


@pytest.fixture
def own_cluster(cluster: Cluster, transport: Transport) -> Iterator[Cluster]:
    yield replace(cluster, root=f"$SCRATCH/{ROOT}")
    transport.run(["sh", "-c", f"chmod -R u+rwX $SCRATCH/{ROOT}; rm -rf $SCRATCH/{ROOT}"])


def asking(marker: Marker, tmp_path: Path, *more: Step) -> tuple[Definition, dict[str, SecretValue]]:
    """Make a definition one step of which checks both secrets by their sha256, twice, and lives long enough to be seen.

    On a busy machine one look at all processes takes seconds.
    """
    token, cert = hashlib.sha256(marker.token.encode()).hexdigest(), hashlib.sha256(marker.cert).hexdigest()
    step = f"""
      for round in 1 2; do
        printf %s "$TOKEN" | sha256sum | grep -q {token}
        sha256sum </run/secrets/TOKEN | grep -q {token}
        sha256sum </run/secrets/CERT | grep -q {cert}
      done
      sleep 6.0625
      echo the secrets are right > /said
    """
    settings = replace(
        SETTINGS,
        setup=(Step(run=NOT_ASKED), Step(run=step, secrets=("TOKEN", "CERT")), Step(run=NOT_ASKED), *more),
        test=("grep right /said", NOT_ASKED),
        secrets=(Secret(name="TOKEN", env="MARKED_TOKEN"), Secret(name="CERT", file="cert")),
    )
    definition = generate(settings, EXAMPLE)
    values = read_secrets(settings, definition.secrets, tmp_path, {"MARKED_TOKEN": marker.token})
    return definition, values


def shell(transport: Transport, line: str, *words: str) -> str:
    done = transport.run(["bash", "-c", line, "bash", *words])
    assert done.exit_code == 0, (line, done.stdout.decode(), done.stderr.decode())
    return done.stdout.decode()


def searched(
    lab: Lab, image: BuiltImage, transport: Transport, tmp_path: Path, definition: Definition, events: list[BuildEvent]
) -> list[Path]:
    """Unpack the image, bring it and its record home, write down what was shown; return all places to search."""
    line = f'cd "$SCRATCH/{ROOT}" && apptainer build --sandbox unpacked "$1" 2>&1 && apptainer inspect --all "$1"'
    home = tmp_path / "home"
    (home / "said").mkdir(parents=True)
    (home / "said/inspect").write_text(shell(transport, line, image.path))
    (home / "said/build").write_text("\n".join(event.text for event in events))
    (home / "said/definition").write_text(f"{definition!r}\n{definition.text}\n{image!r}")
    fetched = fetch_built(image, session(Cluster(name=image.built_on), transport), home / "example.sif", home / "notes")
    Store(home / "state/runs.db").built(EXAMPLE, fetched)
    assert (lab.seen(f"{lab.scratch}/{ROOT}") / "unpacked/said").is_file()
    root = lab.seen(f"{lab.scratch}/{ROOT}")
    return [home, root, *(lab.state / place for place in ("home", "tmp", "root", "upper", "inside"))]


def test_a_build_on_a_cluster_uses_secrets_and_leaves_no_byte_of_them(
    lab: Lab, own_cluster: Cluster, transport: Transport, marker: Marker, tmp_path: Path
) -> None:
    definition, values = asking(marker, tmp_path)
    events: list[BuildEvent] = []
    with watching(marker.needles) as seen:
        image = build_on(definition, session(own_cluster, transport), secrets=values, report=events.append)
    places = searched(lab, image, transport, tmp_path, definition, events)
    assert holding(places, marker.needles, marker.since) == []
    assert_only_the_step_had_them(seen)
    assert shell(transport, f"find $SCRATCH/{ROOT} -type p -o -path '*/tmp/*'") == ""
    assert shell(transport, f"ls -l /proc/[0-9]*/fd 2>/dev/null | grep -F /{ROOT}/ || true") == ""
    again = build_on(definition, session(own_cluster, transport), secrets=values)
    assert again == image


def test_the_same_search_finds_a_secret_that_a_step_keeps(
    lab: Lab, own_cluster: Cluster, transport: Transport, marker: Marker, tmp_path: Path
) -> None:
    keep = """
      printf %s "$TOKEN" > /kept
      base64 -w0 /run/secrets/CERT > /kept-too
      bash -c 'sleep 1.125; true' "$TOKEN"
      echo "said: $TOKEN"
      cat /run/secrets/CERT
      set -x
      : "$TOKEN"
    """
    definition, values = asking(marker, tmp_path, Step(run=keep, secrets=("TOKEN", "CERT")))
    events: list[BuildEvent] = []
    with watching(marker.needles) as seen:
        image = build_on(definition, session(own_cluster, transport), secrets=values, report=events.append)
    assert any("sleep 1.125" in words for words in seen.arguments)
    places = searched(lab, image, transport, tmp_path, definition, events)
    unpacked = lab.seen(f"{lab.scratch}/{ROOT}") / "unpacked"
    assert set(holding(places, marker.needles, marker.since)) == {unpacked / "kept", unpacked / "kept-too"}
    said = [event.text for event in events]
    assert "said: ***" in said
    assert "+ : ***" in [line.replace("'", "") for line in said]


@pytest.mark.parametrize("whole_group", [True, False], ids=["the script and all that it started", "the script alone"])
def test_a_killed_build_leaves_no_process_and_no_pipe_for_long(
    quick: Quick, own_cluster: Cluster, transport: Transport, whole_group: bool
) -> None:
    folder = f"/scratch/lab/{ROOT}"
    post = f"set -- TOKEN\n. /run/secrets/.ask\ntouch {PAUSE}\nwhile [ -e {PAUSE} ]; do sleep 0.2; done"
    plain = quick(f"killed-{whole_group}", post=post)
    definition = replace(plain, text=with_mount_point(plain.text), secrets=("TOKEN",))
    noted = replace(own_cluster, setup=(f'mkdir -p {folder} && echo "$$" > {folder}/pid',))
    secret = {"TOKEN": SecretValue(b"killed")}

    def build() -> None:
        with open_transport(own_cluster) as own, pytest.raises((BuildError, TransportError)):
            build_on(definition, session(noted, own), secrets=secret)

    shell(transport, f"rm -f {PAUSE}")
    thread = threading.Thread(target=build)
    thread.start()
    shell(transport, f"until [ -e {PAUSE} ]; do sleep 0.1; done")
    pipes = shell(transport, f"echo {folder}/tmp/build-{definition.inputs[:16]}-????????/secrets").strip()
    assert shell(transport, f"ls -A {pipes}").split() == [".answer", ".ask", ".wanted", "TOKEN"]
    served = f"ls -l /proc/[0-9]*/fd 2>/dev/null | grep -qF {pipes}"
    shell(transport, served)
    victim = f'"-$(ps -o pgid= "$(cat {folder}/pid)" | tr -d " ")"' if whole_group else f'"$(cat {folder}/pid)"'
    shell(transport, f"kill -KILL -- {victim}")
    shell(transport, f"rm -f {PAUSE}")
    thread.join()
    shell(transport, f"while {served}; do sleep 0.1; done")
    if not whole_group:  # another process can clean up; otherwise the next build does
        assert shell(transport, f"ls -A {folder}/tmp/build-*/secrets 2>/dev/null || true") == ""


def assert_only_the_step_had_them(seen: Seen) -> None:
    assert seen.looks > 20
    assert seen.arguments == set()
    assert "sleep 6.0625" in seen.environments  # the step's own: the look itself works
    assert {words.split()[0] for words in seen.environments} <= {"sleep", "sha256sum", "grep"}
