"""Everything that is asked of registries, with a fault on the way: done right, or refused for a reason, and never lost.

`make test` runs a share of the faults, `make test-registry` all of them.
"""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import bcrypt
import pytest

from hpcdeploy.errors import AuthenticationError, HpcdeployError, RegistryError
from hpcdeploy.image import PublishedImage
from hpcdeploy.registry.client import Registry
from hpcdeploy.registry.credentials import Lookup
from hpcdeploy.registry.reference import parse_image, parse_reference
from hpcdeploy.registry.retries import RetryPolicy
from tests import seed as seeds
from tests.once.points import VARIABLE, share_of
from tests.registry import containers
from tests.registry.daemons import serve
from tests.registry.faults import KINDS, OPERATIONS, REGISTRIES, Fault, faults
from tests.registry.faulty import Exchange, FaultyWay, befalls
from tests.registry.images import CREATED, NOTHING, Image, make_image, user
from tests.registry.test_image_config import SAID
from tests.registry.token_service import PASSWORD, USER, TokenService, serve_tokens

IMPATIENT = RetryPolicy(connect=5.0, read=5.0, upload=5.0, attempts=4, first_wait=0.0, total=30.0)
TAGS = tuple(f"v{number}" for number in range(7))
AT_ONCE = 6


@dataclass(frozen=True)
class Sites:
    """Real registries over one storage, by name, with what is there: an image, its tags, and a container image."""

    hosts: dict[str, str]
    tokens: TokenService
    image: Image
    published: PublishedImage

    def way(self, registry: str) -> FaultyWay:
        """Return a way to a registry on which nothing goes wrong yet."""
        tokens = self.tokens.realm.removeprefix("http://").removesuffix("/token")
        return FaultyWay(self.hosts[registry], tokens, IMPATIENT.read, lambda expired: self.tokens.weak(expired=expired))


@dataclass(frozen=True)
class Outcome:
    """What became of one fault: how many exchanges failed, and what was wrong then (empty: nothing)."""

    fault: Fault
    fired: int
    refused: bool
    wrong: str


@pytest.fixture(scope="module")
def sites(registry_program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    """Run the registries: open, with a password, and with tokens."""
    folder = tmp_path_factory.mktemp("faults")
    passwords = folder / "htpasswd"
    passwords.write_text(f"{USER}:{bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()}\n")
    storage = folder / "storage"
    with ExitStack() as running:
        tokens = running.enter_context(serve_tokens(TokenService(folder / "tokens")))
        basic = {"realm": "test", "path": str(passwords)}
        hosts = {
            "open": running.enter_context(serve(registry_program, folder / "open", storage=storage)),
            "basic": running.enter_context(serve(registry_program, folder / "basic", storage=storage, htpasswd=basic)),
            "token": running.enter_context(serve(registry_program, folder / "token", storage=storage, token=tokens.auth)),
        }
        image = make_image(folder, size=400_000)
        published = of(hosts["open"], "lab/there").push(image.path, sha256=image.sha256, created=CREATED, tags=TAGS)
        put_container(hosts["open"])
        yield Sites(hosts, tokens, image, published)


def put_container(host: str) -> None:
    config = containers.config(SAID)
    one = containers.manifest(config, architecture="amd64")
    containers.put_blob(host, "lab/base", config.content)
    containers.put_manifest(host, "lab/base", one.digest, one)
    containers.put_manifest(host, "lab/base", "v1", containers.index(one))


def of(host: str, path: str, *, asked: str = "", registry: str = "open", policy: RetryPolicy = IMPATIENT) -> Registry:
    """Return a client of one of the registries, or of a way to it."""
    found: Lookup = NOTHING if registry == "open" else user(USER, PASSWORD)
    text = f"{host}/{path}{asked}"
    reference = parse_image(text) if path == "lab/base" else parse_reference(text)
    return Registry(reference, found, policy=policy)


def run(operation: str, registry: str, host: str, sites: Sites, folder: Path, policy: RetryPolicy = IMPATIENT) -> object:
    """Do what is tested, over the way at `host`; return its value, which is `expected` if it is right."""
    image = sites.image
    there = of(host, "lab/there", asked=":v1", registry=registry, policy=policy)
    match operation:
        case "push":
            client = of(host, f"pushed/{folder.name}", registry=registry, policy=policy)
            return client.push(image.path, sha256=image.sha256, created=CREATED, tags=("a",)).sha256
        case "pull":
            there.download(there.resolve(), folder / "got.sif")
            return hashlib.sha256((folder / "got.sif").read_bytes()).hexdigest()
        case "stream":
            sha256 = hashlib.sha256(b"".join(there.stream(image.sha256, len(image.content)))).hexdigest()
            if sha256 != image.sha256:
                raise RegistryError("the reader of a stream checks it")
            return sha256
        case "resolve":
            found, annotations = there.describe()
            return replace(found, repository=""), annotations["org.opencontainers.image.created"]
        case "tags":
            return of(host, "lab/there", registry=registry, policy=policy).tags()
        case _:
            return of(host, "lab/base", asked=":v1", registry=registry, policy=policy).image_config().entrypoint


def expected(operation: str, sites: Sites) -> object:
    """Return what `run` returns when nothing goes wrong."""
    values: dict[str, object] = {
        "push": sites.image.sha256,
        "pull": sites.image.sha256,
        "stream": sites.image.sha256,
        "resolve": (replace(sites.published, repository=""), CREATED),
        "tags": TAGS,
        "build from": ("/entry", "a b"),
    }
    return values[operation]


@pytest.fixture(scope="module")
def usual(sites: Sites, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], list[Exchange]]:
    """Do everything once without a fault, and return its exchanges. The default policy has timeouts that cause no retry."""
    found = {}
    for registry in REGISTRIES:
        for operation in OPERATIONS:
            folder = tmp_path_factory.mktemp("usual")
            with sites.way(registry) as way:
                value = run(operation, registry, way.host, sites, folder, RetryPolicy())
                assert value == expected(operation, sites)
                found[operation, registry] = list(way.exchanges)
    return found


def befall(fault: Fault, sites: Sites, exchanges: list[Exchange], folder: Path) -> Outcome:
    """Do an operation while a fault befalls it, and look at what is there then."""
    folder.mkdir()
    fitting = [number for number, exchange in enumerate(exchanges) if befalls(fault, exchange)]
    number = fitting[int(fault.exchange * len(fitting))]
    refused = wrong = ""
    with sites.way(fault.registry) as way:
        way.size.update(enumerate(exchanges))
        way.plan.update(dict.fromkeys((number, number + 1) if fault.again else (number,), fault))
        try:
            value = run(fault.operation, fault.registry, way.host, sites, folder)
        except HpcdeployError as error:
            refused = f"{type(error).__name__}: {error}"
            if not isinstance(error, RegistryError | AuthenticationError):
                wrong = f"not a registry's error: {refused}"
        except Exception as error:  # noqa: BLE001 - that is what is looked for
            wrong = f"a traceback: {error!r}"
        else:
            if value != expected(fault.operation, sites):
                wrong = f"another value: {value!r}"
        fired = len(way.fired)
    if refused and not wrong and not is_rightful(fault, exchanges[number]):
        wrong = f"needless: {refused}"
    left = {path.name for path in folder.iterdir()} - {"got.sif"}
    if not wrong and left and not refused:
        wrong = f"left behind: {left}"
    try:
        wrong = wrong or lost(fault, sites, folder, refused)
    except HpcdeployError as error:
        wrong = f"lost: {error}"
    return Outcome(fault, fired, bool(refused), wrong)


def is_rightful(fault: Fault, exchange: Exchange) -> bool:
    """Tell whether a rejection is right: the image arrived with other content, which must not be used."""
    return fault.kind == "damaged answer" and "/blobs/" in exchange.line and fault.operation in ("pull", "stream")


def lost(fault: Fault, sites: Sites, folder: Path, refused: str) -> str:
    """Say what is not there as it should be, after a success or after the same again without a fault; empty: all is."""
    host = sites.hosts[fault.registry]
    if refused:
        if (folder / "got.sif").exists():
            return "a file was kept of what was refused"
        if run(fault.operation, fault.registry, host, sites, folder, RetryPolicy()) != expected(fault.operation, sites):
            return "a second call gave another value"
    if fault.operation == "push":
        pushed = of(host, f"pushed/{folder.name}", asked=":a", registry=fault.registry, policy=RetryPolicy())
        found = pushed.resolve()
        content = b"".join(pushed.stream(found.sha256, found.size))
        if content != sites.image.content:
            return "the pushed image has another content"
    return ""


def test_every_fault_ends_in_the_right_value_or_in_a_refusal_that_is_due(
    sites: Sites, usual: dict[tuple[str, str], list[Exchange]], tmp_path: Path, say: Callable[[str], None]
) -> None:
    seed = os.environ[seeds.VARIABLE]
    chosen = faults(seed, share_of(KINDS))

    def one(number: int, fault: Fault) -> Outcome:
        return befall(fault, sites, usual[fault.operation, fault.registry], tmp_path / f"point-{number}")

    with ThreadPoolExecutor(AT_ONCE) as pool:
        outcomes = list(pool.map(one, range(len(chosen)), chosen))
    fired = sum(bool(outcome.fired) for outcome in outcomes)
    wrong = [outcome for outcome in outcomes if outcome.wrong]
    refused = Counter(outcome.fault.kind for outcome in outcomes if outcome.refused)
    say(
        f"registry: {fired} faults fired of {len(chosen)} (seed {seed}): {len(wrong)} wrong, lost or refused needlessly, "
        f"{sum(refused.values())} refused rightly {dict(refused)}"
    )
    assert not wrong, "\n".join(f"{outcome.wrong}\n  {outcome.fault}" for outcome in wrong)
    assert fired == len(chosen)


def test_the_page_tells_how_many_faults_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text()
    [(every, some)] = re.findall(r"all (\d+) registry faults; make test runs (\d+) of them", page)
    monkeypatch.setenv(VARIABLE, "all")
    assert int(every) == sum(share_of(KINDS).values())
    monkeypatch.delenv(VARIABLE)
    assert int(some) == sum(share_of(KINDS).values())


def test_there_are_enough_faults_and_a_seed_chooses_the_same_again() -> None:
    assert sum(KINDS.values()) >= 250
    assert len(faults("any")) == sum(KINDS.values())
    assert faults("one") == faults("one") != faults("another")
    assert {(fault.operation, fault.registry) for fault in faults("any")} == {
        (operation, registry) for operation in OPERATIONS for registry in REGISTRIES
    }
