"""``hpcdeploy tags``: newest first whatever the order, pages and answers of the registry are."""

import hashlib
import json
import urllib.request
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hpcdeploy import limits
from hpcdeploy.cli.main import app
from hpcdeploy.errors import RegistryError
from hpcdeploy.flows.tags import Listed, list_tags, version_key
from hpcdeploy.registry.tag_details import TagDetails, details_of
from tests.registry.images import Image, make_image, registry
from tests.registry.odd_server import Reply, Script, StatusReport, misbehave

OCI = "application/vnd.oci.image."
SIF = {"mediaType": "application/vnd.sylabs.sif.layer.v1.sif", "digest": f"sha256:{'1' * 64}", "size": 1_500_000}


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def manifest(created: str = "", *, config: bytes = b"{}", kind: str = f"{OCI}config.v1+json", **more: object) -> bytes:
    annotations = {"annotations": {"org.opencontainers.image.created": created}} if created else {}
    described = {"mediaType": kind, "digest": digest(config), "size": len(config)}
    fields = {"schemaVersion": 2, "mediaType": f"{OCI}manifest.v1+json", "config": described, "layers": [SIF], **annotations}
    return json.dumps(fields | more).encode()


def index(image: bytes, created: str = "") -> bytes:
    other = {"digest": f"sha256:{'2' * 64}", "platform": {"os": "linux", "architecture": "arm64"}}
    entry = {"digest": digest(image), "platform": {"os": "linux", "architecture": "amd64"}}
    annotations = {"annotations": {"org.opencontainers.image.created": created}} if created else {}
    return json.dumps({"mediaType": f"{OCI}index.v1+json", "manifests": [other, entry], **annotations}).encode()


def nothing(_digest: str) -> bytes | None:
    return None


def served(tags: dict[str, bytes], *others: bytes, pages: int = 1000) -> Script:
    """Return a script for a registry with `tags`, which lists them as they come, `pages` at once."""
    by_name = tags | {digest(content): content for content in (*tags.values(), *others)}
    names = list(tags)

    def script(asked: StatusReport) -> Reply:
        name = asked.path.rpartition("/")[2]
        if "/tags/list" in asked.path:
            start = int(asked.path.partition("?at=")[2] or 0)
            following = start + pages
            link = {"Link": f'</v2/lab/train/tags/list?at={following}>; rel="next"'} if following < len(names) else {}
            return Reply(headers=link, body=json.dumps({"tags": names[start:following]}).encode())
        if "/manifests/" in asked.path and f"{OCI}manifest.v1+json" not in asked.headers.get("accept", ""):
            return Reply(404)
        content = by_name.get(name)
        return Reply(404) if content is None else Reply(headers={"Docker-Content-Digest": digest(content)}, body=content)

    return script


def listed(tags: dict[str, bytes], *others: bytes, pages: int = 1000, asked: str = "") -> tuple[Listed, list[StatusReport]]:
    with misbehave(served(tags, *others, pages=pages)) as odd:
        return list_tags(registry(odd.host, asked=asked)), odd.asked


def test_tags_are_listed_newest_first_over_pages_and_a_shared_manifest_is_read_once() -> None:
    old, new, undated = manifest("2025-01-02T03:04:05Z"), manifest("2026-02-03T04:05:06+01:00"), manifest()
    found, asked = listed({"1.9": old, "zz": undated, "1.10": new, "latest": new, "a": undated}, pages=2)
    assert [one.tag for one in found.tags] == ["1.10", "latest", "1.9", "zz", "a"]
    assert found.tags[0] == TagDetails(tag="1.10", digest=digest(new), created=1770087906, size=1_500_000)
    assert found.undescribed == 0
    assert sum(one.method == "GET" and "/manifests/" in one.path for one in asked) == 3
    assert all("n=" not in one.path for one in asked)


def test_the_date_of_a_container_image_is_in_its_configuration_and_that_of_an_index_behind_it() -> None:
    config = b'{"created": "2026-01-01T00:00:00.123456789Z"}'
    image = manifest(config=config)
    found, _ = listed({"image": image, "index": index(image), "dated": index(image, "2027-01-01T00:00:00Z")}, config)
    assert [(one.tag, one.created, one.size) for one in found.tags] == [
        ("dated", 1798761600, 1_500_000),
        ("index", 1767225600, 1_500_000),
        ("image", 1767225600, 1_500_000),
    ]


@pytest.mark.parametrize("variant", [{}, {"variant": "v8"}])
def test_an_index_without_an_image_for_amd64_has_the_details_of_that_for_arm64(variant: dict[str, str]) -> None:
    image = manifest("2026-01-01T00:00:00Z")
    newer = {"digest": f"sha256:{'2' * 64}", "platform": {"os": "linux", "architecture": "arm64", "variant": "v9"}}
    entry = {"digest": digest(image), "platform": {"os": "linux", "architecture": "arm64", **variant}}
    content = json.dumps({"manifests": [newer, entry]}).encode()
    found = details_of("a", content, lambda asked: image if asked == digest(image) else None, nothing)
    assert (found.created, found.size) == (1767225600, 1_500_000)


def test_a_reference_selects_its_tag_or_the_tags_of_its_digest() -> None:
    first, second = manifest("2025-01-02T03:04:05Z"), manifest("2026-01-02T03:04:05Z")
    tags = {"a": first, "b": second, "c": second}
    only, asked = listed(tags, asked=":a")
    assert ([one.tag for one in only.tags], len(asked)) == (["a"], 2)
    same, _ = listed(tags, asked=f"@{digest(second)}")
    assert [one.tag for one in same.tags] == ["c", "b"]
    assert listed(tags, asked=":none")[0].tags == ()


def test_of_too_many_tags_the_highest_versions_are_described(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_TAGS_DESCRIBED", 3)
    found, asked = listed({f"1.{number}": manifest("2026-01-02T03:04:05Z") for number in range(12)})
    assert [one.tag for one in found.tags][:4] == ["1.11", "1.10", "1.9", "1.8"]
    assert [bool(one.digest) for one in found.tags] == [True] * 3 + [False] * 9
    assert (found.undescribed, len(asked)) == (9, 1 + 3 + 1)


def test_a_manifest_that_is_not_that_of_its_digest_tells_nothing() -> None:
    def script(asked: StatusReport) -> Reply:
        if "/tags/list" in asked.path:
            return Reply(body=b'{"tags": ["a", "b", "gone"]}')
        if asked.path.endswith("/gone"):
            return Reply(404)
        claimed = digest(b"other") if asked.path.endswith("/a") else "../../../v2/x"
        return Reply(headers={"Docker-Content-Digest": claimed}, body=manifest("2026-01-02T03:04:05Z"))

    with misbehave(script) as odd:
        found = list_tags(registry(odd.host)).tags
    assert [(one.tag, one.digest != "", one.created) for one in found] == [("b", True, 1767323045), ("a", False, 0)]
    assert not any("x" in one.path.rpartition("/")[2] for one in odd.asked)


def test_a_registry_that_refuses_is_an_error() -> None:
    with misbehave(lambda _asked: Reply(404)) as odd, pytest.raises(RegistryError):
        list_tags(registry(odd.host))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b'{"layers": 3, "annotations": [], "config": "x"}',
        b'{"manifests": {"x": 1}}',
        b'{"manifests": [1, {"platform": 3}]}',
        manifest("2026-02-30T00:00:00Z", layers=[{"size": -1}]),
        manifest("9999-12-31T23:59:59-23:00", layers=[{"size": 1}, {"size": True}]),
        manifest("0001-01-01T00:00:00Z", layers=[{"size": 2**70}]),
        manifest("2026-01-02", layers=[]),
    ],
)
def test_what_a_manifest_does_not_say_stays_unknown(content: bytes) -> None:
    assert details_of("a", content, nothing, nothing) == TagDetails(tag="a", digest=digest(content))


def test_versions_sort_as_versions() -> None:
    assert sorted(["1.10", "1.9", "latest", "²", "1.9-rc1", "9" * 200], key=version_key, reverse=True)[1:3] == [
        "1.10",
        "1.9-rc1",
    ]


def test_the_command_prints_a_table_or_json_and_escapes_nothing_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    content = manifest("2026-01-02T03:04:05Z")
    with misbehave(served({"1.0": content, "2.0": manifest()})) as odd:
        name = f"{odd.host}/lab/train"
        table = CliRunner().invoke(app, ["tags", f"oras://{name}"])
        assert table.stdout.splitlines()[0].split() == ["TAG", "CREATED", "SIZE", "DIGEST"]
        assert table.stdout.splitlines()[1].split()[0] == "1.0"
        assert digest(content) in table.stdout
        as_json = json.loads(CliRunner().invoke(app, ["tags", name, "--json", "-n", "1"]).stdout)
    assert as_json == [
        {
            "repository": name,
            "tag": "1.0",
            "digest": digest(content),
            "created": "2026-01-02T03:04:05Z",
            "size": 1_500_000,
        }
    ]


def test_an_image_of_the_project_is_listed_from_its_repositories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with misbehave(served({"1.0": manifest()})) as odd:
        repositories = [f"{odd.host}/lab/train", f"{odd.host}/lab/other"]
        (tmp_path / "hpcdeploy.toml").write_text(f"[image]\nrepository = {json.dumps(repositories)}\n")
        monkeypatch.chdir(tmp_path)
        done = CliRunner().invoke(app, ["tags", "--json"])
    assert [one["repository"] for one in json.loads(done.stdout)] == repositories


def test_a_real_registry_lists_sif_and_container_images_and_indexes(open_host: str, image: Image, tmp_path: Path) -> None:
    place = registry(open_host, "lab/listed")
    older = place.push(image.path, sha256=image.sha256, created="2025-01-02T03:04:05Z", tags=("z", "1.9"))
    other = make_image(tmp_path, seed=11, name="other.sif")
    newer = place.push(other.path, sha256=other.sha256, created="2026-01-02T03:04:05Z", tags=("1.10",))
    config = b'{"created": "2024-05-06T07:08:09Z", "os": "linux", "architecture": "amd64"}'
    client = place._client("Pushing")
    layer = {"mediaType": f"{OCI}layer.v1.tar", "digest": f"sha256:{image.sha256}", "size": len(image.content)}
    container = manifest(config=config, layers=[layer])
    with client.session:
        client.upload_blob(config, digest(config), len(config))
        client.upload_manifest(container, "container")
    listing = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": f"{OCI}index.v1+json",
            "manifests": [
                {
                    "mediaType": f"{OCI}manifest.v1+json",
                    "digest": digest(container),
                    "size": len(container),
                    "platform": {"os": "linux", "architecture": "amd64"},
                }
            ],
        }
    ).encode()
    url = f"http://{open_host}/v2/lab/listed/manifests/index"
    urllib.request.urlopen(
        urllib.request.Request(url, listing, {"Content-Type": f"{OCI}index.v1+json"}, method="PUT")
    ).close()
    found = list_tags(place).tags
    assert [(one.tag, one.created, one.size) for one in found] == [
        ("1.10", 1767323045, newer.size),
        ("1.9", 1735787045, older.size),
        ("z", 1735787045, older.size),
        ("index", 1714979289, len(image.content)),
        ("container", 1714979289, len(image.content)),
    ]
    assert [one.digest for one in found[:3]] == [f"sha256:{newer.manifest}", *[f"sha256:{older.manifest}"] * 2]
    assert found[3].digest == digest(listing)
    assert [one.tag for one in list_tags(registry(open_host, "lab/listed", asked=f"@{digest(container)}")).tags] == [
        "container"
    ]
