"""Pushing, looking up, bringing and listing, against real docker-registry daemons."""

import hashlib
import json
import subprocess
import sys
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy.errors import AuthenticationError, ConfigError, RegistryError
from hpcdeploy.registry.credentials import Credentials, Lookup
from hpcdeploy.registry.oci_client import OciClient
from hpcdeploy.registry.reference import parse_reference
from tests.registry.images import CREATED, HEAD, SWIFT, Image, make_image, registry, user
from tests.registry.token_service import IDENTITY, PASSWORD, USER, TokenService


def test_what_was_pushed_comes_back_by_tag_and_by_digest(open_host: str, image: Image, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    pushed = registry(open_host).push(
        image.path,
        sha256=image.sha256,
        created=CREATED,
        tags=("1.2.3", "latest"),
        progress=lambda done, total: seen.append((done, total)),
    )
    assert (pushed.sha256, pushed.size) == (image.sha256, len(image.content))
    assert pushed.reference == f"oras://{open_host}/lab/train@sha256:{pushed.manifest}"
    assert seen[-1] == (pushed.size, pushed.size)
    assert seen == sorted(seen)
    for asked in (":1.2.3", ":latest", "", f"@sha256:{pushed.manifest}"):
        assert registry(open_host, asked=asked).resolve() == pushed
    registry(open_host).download(pushed, tmp_path / "cache" / "got.sif")
    assert (tmp_path / "cache" / "got.sif").read_bytes() == image.content
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["got.sif"]


def test_the_registry_holds_the_manifest_that_apptainer_writes(open_host: str, image: Image) -> None:
    pushed = registry(open_host, "lab/bytes").push(image.path, sha256=image.sha256, created=CREATED, tags=("one",))
    with urllib.request.urlopen(
        urllib.request.Request(
            f"http://{open_host}/v2/lab/bytes/manifests/one",
            headers={"Accept": "application/vnd.oci.image.manifest.v1+json"},
        )
    ) as answer:
        content = answer.read()
    assert hashlib.sha256(content).hexdigest() == pushed.manifest
    assert json.loads(content) == {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.sylabs.sif.config.v1+json",
            "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
            "size": 2,
            "data": "e30=",
        },
        "layers": [
            {
                "mediaType": "application/vnd.sylabs.sif.layer.v1.sif",
                "digest": f"sha256:{image.sha256}",
                "size": len(image.content),
                "annotations": {"org.opencontainers.image.title": "bytes.sif"},
            }
        ],
        "annotations": {"org.opencontainers.image.created": CREATED},
    }


def test_the_local_name_of_the_file_changes_no_digest(open_host: str, image: Image, tmp_path: Path) -> None:
    other = tmp_path / "another name.sif"
    other.write_bytes(image.content)
    both = [
        registry(open_host, "lab/same").push(path, sha256=image.sha256, created=CREATED, tags=("x",))
        for path in (image.path, other)
    ]
    assert both[0] == both[1]


def test_a_blob_that_is_there_is_not_read_again(open_host: str, image: Image) -> None:
    registry(open_host, "lab/twice").push(image.path, sha256=image.sha256, created=CREATED)
    seen: list[int] = []
    registry(open_host, "lab/twice").push(
        image.path, sha256=image.sha256, created=CREATED, tags=("again",), progress=lambda done, _total: seen.append(done)
    )
    assert seen == [len(image.content)]


def test_a_sha256_that_is_not_the_files_is_refused_by_the_registry(open_host: str, image: Image) -> None:
    with pytest.raises(RegistryError, match=r"does not match the record.*DIGEST_INVALID"):
        registry(open_host, "lab/wrong").push(image.path, sha256="0" * 64, created=CREATED, tags=("x",))
    with pytest.raises(RegistryError, match="nothing of that name"):
        registry(open_host, "lab/wrong", asked=":x").resolve()


def test_a_file_that_is_no_image_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("text")
    with pytest.raises(ConfigError, match="not an Apptainer image"):
        registry("127.0.0.1:1").push(path, sha256="0" * 64, created=CREATED)


def test_a_tag_that_is_none_is_refused_before_anything_is_sent(image: Image) -> None:
    with pytest.raises(ConfigError, match="cannot be a tag"):
        registry("127.0.0.1:1").push(image.path, sha256=image.sha256, created=CREATED, tags=("a b",))


def test_tags_are_listed_in_order_and_without_referrers(open_host: str, image: Image) -> None:
    names = [f"v{number:03}" for number in range(120)]
    registry(open_host, "lab/many").push(
        image.path, sha256=image.sha256, created=CREATED, tags=(*reversed(names), f"sha256-{image.sha256}")
    )
    assert registry(open_host, "lab/many").tags() == tuple(names)
    with pytest.raises(RegistryError, match="NAME_UNKNOWN"):
        registry(open_host, "lab/none").tags()


def test_basic_authentication_is_chosen_where_the_registry_asks_for_it(
    basic_host: str, image: Image, tmp_path: Path
) -> None:
    found = user(USER, PASSWORD)
    pushed = registry(basic_host, found=found).push(image.path, sha256=image.sha256, created=CREATED, tags=("a",))
    assert registry(basic_host, found=found, asked=":a").resolve() == pushed
    registry(basic_host, found=found).download(pushed, tmp_path / "got.sif")
    assert registry(basic_host, found=found).tags() == ("a",)


@pytest.mark.parametrize("host", ["basic_host", "token_host"])
def test_wrong_and_missing_credentials_say_where_was_looked_and_what_to_do(
    host: str, image: Image, request: pytest.FixtureRequest
) -> None:
    address = request.getfixturevalue(host)
    nothing = Lookup(credentials=None, consulted=("/home/me/.docker/config.json (not there)",))
    with pytest.raises(
        AuthenticationError, match=r"\.docker/config\.json \(not there\).*apptainer registry login"
    ) as missing:
        registry(address, found=nothing).push(image.path, sha256=image.sha256, created=CREATED)
    with pytest.raises(AuthenticationError, match=r"credentials from a file.*apptainer registry login") as wrong:
        registry(address, found=user(USER, "s3cret-canary")).push(image.path, sha256=image.sha256, created=CREATED)
    assert "canary" not in f"{missing.value!r}{wrong.value!r}"


def test_one_token_serves_a_whole_push(token_host: str, tokens: TokenService, image: Image, tmp_path: Path) -> None:
    found = user(USER, PASSWORD)
    pushed = registry(token_host, found=found).push(image.path, sha256=image.sha256, created=CREATED, tags=("a", "b"))
    assert tokens.asked == [("repository:lab/train:pull,push",)]
    tokens.asked.clear()
    registry(token_host).download(pushed, tmp_path / "got.sif")
    assert (tmp_path / "got.sif").read_bytes() == image.content
    assert tokens.asked == [("repository:lab/train:pull",)]


def test_a_token_that_lacks_a_right_is_negotiated_again(token_host: str, tokens: TokenService, image: Image) -> None:
    tokens.withhold = 1
    registry(token_host, "lab/again", found=user(USER, PASSWORD)).push(image.path, sha256=image.sha256, created=CREATED)
    assert len(tokens.asked) == 2


def test_a_token_that_lived_its_life_is_not_sent_again(token_host: str, tokens: TokenService, image: Image) -> None:
    now = [0.0]

    def let_time_pass(_done: int, _total: int) -> None:
        now[0] += tokens.life + 1

    place = registry(token_host, "lab/brief", found=user(USER, PASSWORD), policy=replace(SWIFT, clock=lambda: now[0]))
    place.push(image.path, sha256=image.sha256, created=CREATED, progress=let_time_pass)
    assert len(tokens.asked) == 2


def test_an_identity_token_is_exchanged_for_access(token_host: str, tokens: TokenService, image: Image) -> None:
    found = Lookup(credentials=Credentials(source="a file", identity_token=IDENTITY), consulted=())
    pushed = registry(token_host, "lab/identity", found=found).push(
        image.path, sha256=image.sha256, created=CREATED, tags=("a",)
    )
    assert registry(token_host, "lab/identity", found=found, asked=":a").resolve() == pushed


def test_the_users_netrc_is_not_looked_at(
    token_host: str, tokens: TokenService, image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = user(USER, PASSWORD)
    registry(token_host, "lab/netrc", found=found).push(image.path, sha256=image.sha256, created=CREATED, tags=("a",))
    (tmp_path / "netrc").write_text("default login nobody password nothing\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    client = OciClient(parse_reference(f"{token_host}/lab/netrc"), found, plain_http=True, policy=SWIFT, doing="Listing")
    client.session.trust_env = True  # as for every registry that is not on this machine
    with client.session:
        assert client.list_tags() == ["a"]


def test_no_proxy_stands_between_the_machine_and_itself(
    open_host: str, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    registry(open_host, "lab/proxy").push(image.path, sha256=image.sha256, created=CREATED)


PUSH_AND_MEASURE = """
import sys
from dataclasses import replace
from pathlib import Path
from hpcdeploy.registry.client import Registry
from hpcdeploy.registry.credentials import Lookup
from hpcdeploy.registry.reference import parse_reference
host, path, sha256 = sys.argv[1:]
registry = Registry(parse_reference(host + "/lab/large"), Lookup(credentials=None, consulted=()))
pushed = registry.push(Path(path), sha256=sha256, created="2026-01-02T03:04:05Z")
registry.download(pushed, Path(path).with_suffix(".back"))
# Not getrusage: ru_maxrss also counts what the process was before it became this program (getrusage(2), execve).
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
print(pushed.size, peak.split()[1])
"""


def test_memory_stays_under_150_megabytes_whatever_the_size(open_host: str, tmp_path: Path) -> None:
    path = tmp_path / "large.sif"
    with path.open("wb") as file:
        file.write(HEAD)
        file.truncate(400 << 20)
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    done = subprocess.run(
        [sys.executable, "-c", PUSH_AND_MEASURE, open_host, path, sha256], capture_output=True, text=True, check=True
    )
    size, kilobytes = map(int, done.stdout.split())
    assert size == 400 << 20
    assert kilobytes < 150_000


def test_two_images_under_one_tag_leave_the_first_at_its_digest(open_host: str, tmp_path: Path) -> None:
    first, second = make_image(tmp_path, seed=3, name="a.sif"), make_image(tmp_path, seed=5, name="b.sif")
    place = registry(open_host, "lab/moved")
    old = place.push(first.path, sha256=first.sha256, created=CREATED, tags=("latest",))
    new = place.push(second.path, sha256=second.sha256, created=CREATED, tags=("latest",))
    assert place.resolve() == new
    assert registry(open_host, "lab/moved", asked=f"@sha256:{old.manifest}").resolve() == old


def test_a_published_image_is_described_with_its_annotations(open_host: str, image: Image) -> None:
    annotations = {"org.opencontainers.image.version": "1.2.3"}
    pushed = registry(open_host, "lab/told").push(
        image.path, sha256=image.sha256, created=CREATED, tags=("one",), annotations=annotations
    )
    described, told = registry(open_host, "lab/told", asked=":one").describe()
    assert described == pushed
    assert told == {"org.opencontainers.image.created": CREATED, **annotations}
