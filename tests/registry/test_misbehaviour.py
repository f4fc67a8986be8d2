"""Registries that lie, break off, send us away, or have a bad day."""

import hashlib
import resource
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy.errors import AuthenticationError, RegistryError
from hpcdeploy.image import PublishedImage
from hpcdeploy.registry.credentials import Lookup
from hpcdeploy.registry.manifest import digest_of, render_manifest
from hpcdeploy.registry.retries import RetryPolicy
from tests.disks import small_disk
from tests.registry.images import CREATED, NOTHING, SWIFT, Image, make_image, registry, user
from tests.registry.odd_server import OddServer, Reply, Script, StatusReport, misbehave


def published(image: Image, host: str = "example.org") -> PublishedImage:
    return PublishedImage(repository=f"{host}/lab/train", manifest="0" * 64, sha256=image.sha256, size=len(image.content))


def ranged(asked: StatusReport, content: bytes) -> Reply:
    start = int(asked.headers["range"].removeprefix("bytes=").removesuffix("-"))
    span = f"bytes {start}-{len(content) - 1}/{len(content)}"
    return Reply(206, {"Content-Range": span}, content[start:])


def uploads(asked: StatusReport, *, location: str = "/v2/lab/train/blobs/uploads/1?_state=canary") -> Reply:
    """Answer as a registry does to a push of something new."""
    replies = {"POST": Reply(202, {"Location": location}), "PUT": Reply(201)}
    return replies.get(asked.method, Reply(404))


def push(odd: OddServer, image: Image, *, found: Lookup = NOTHING, policy: RetryPolicy = SWIFT) -> PublishedImage:
    return registry(odd.host, found=found, policy=policy).push(image.path, sha256=image.sha256, created=CREATED)


def blobs_put(odd: OddServer) -> list[bytes]:
    return [asked.body for asked in odd.asked if asked.method == "PUT" and "/blobs/" in asked.path]


def streamed(odd: OddServer, image: Image, start: int = 0) -> bytes:
    return b"".join(registry(odd.host).stream(image.sha256, len(image.content), start))


def test_a_stream_that_breaks_off_is_taken_up_where_it_broke(image: Image) -> None:
    step = len(image.content) // 5

    def breaks_off(asked: StatusReport) -> Reply:
        reply = ranged(asked, image.content) if "range" in asked.headers else Reply(body=image.content)
        return replace(reply, claim=len(reply.body), body=reply.body[:step])

    with misbehave(breaks_off) as odd:
        assert streamed(odd, image, 3) == image.content[3:]
    assert len(odd.asked) >= 5


def test_a_registry_that_knows_no_ranges_sends_all_again(image: Image) -> None:
    with misbehave(lambda _asked: Reply(body=image.content)) as odd:
        assert streamed(odd, image, 1000) == image.content[1000:]


def test_a_stream_that_brings_nothing_any_more_is_given_up(image: Image) -> None:
    with (
        misbehave(lambda _asked: Reply(claim=len(image.content))) as odd,
        pytest.raises(RegistryError, match="was lost after 4 attempts"),
    ):
        streamed(odd, image)


def test_what_is_not_there_cannot_be_streamed(image: Image) -> None:
    with misbehave(lambda _asked: Reply(404)) as odd, pytest.raises(RegistryError, match="has nothing of that name"):
        streamed(odd, image)


def test_a_tampered_blob_is_never_left_behind(image: Image, tmp_path: Path) -> None:
    with (
        misbehave(lambda _asked: Reply(body=image.content[:-1] + b"!")) as odd,
        pytest.raises(RegistryError, match="does not match sha256"),
    ):
        registry(odd.host).download(published(image), tmp_path / "new" / "got.sif")
    assert list((tmp_path / "new").iterdir()) == []


def test_more_bytes_than_promised_end_the_download(image: Image, tmp_path: Path) -> None:
    with (
        misbehave(lambda _asked: Reply(body=image.content + b"more")) as odd,
        pytest.raises(RegistryError, match="sent more than"),
    ):
        registry(odd.host).download(published(image), tmp_path / "new" / "got.sif")
    assert list((tmp_path / "new").iterdir()) == []


def test_a_tampered_manifest_is_refused_when_a_digest_was_asked_for(image: Image) -> None:
    content = render_manifest(sha256=image.sha256, size=1, title="x.sif", created=CREATED, annotations={})
    lie = {"Docker-Content-Digest": "sha256:" + "1" * 64}
    reason = rf"has an unexpected manifest for .* \(sha256:{digest_of(content)}, expected sha256:1{{64}}\)"
    with misbehave(lambda _asked: Reply(headers=lie, body=content)) as odd:
        with pytest.raises(RegistryError, match=reason):
            registry(odd.host, asked="@sha256:" + "1" * 64).resolve()
        with pytest.raises(RegistryError, match=reason):
            registry(odd.host, asked=":latest").resolve()


def test_a_digest_that_was_asked_for_counts_more_than_what_the_registry_claims(image: Image) -> None:
    content = render_manifest(sha256=image.sha256, size=1, title="x.sif", created=CREATED, annotations={})
    honest = {"Docker-Content-Digest": f"sha256:{digest_of(content)}"}
    for headers in (honest, {}):
        with (
            misbehave(lambda _asked, headers=headers: Reply(headers=headers, body=content)) as odd,  # type: ignore[misc]
            pytest.raises(RegistryError, match="has an unexpected manifest"),
        ):
            registry(odd.host, asked="@sha256:" + "1" * 64).resolve()


def test_a_registry_that_stored_another_manifest_is_found_out(image: Image) -> None:
    def script(asked: StatusReport) -> Reply:
        lie = {"Docker-Content-Digest": "sha256:" + "1" * 64} if "/manifests/" in asked.path else {}
        return replace(uploads(asked), headers={**uploads(asked).headers, **lie})

    reason = r"has an unexpected manifest for .* \(sha256:1{64}, expected sha256:[0-9a-f]{64}\)"
    with misbehave(script) as odd, pytest.raises(RegistryError, match=reason):
        push(odd, image)


def test_an_endless_manifest_is_not_read_to_its_end() -> None:
    with (
        misbehave(lambda _asked: Reply(body=bytes(5 << 20))) as odd,
        pytest.raises(RegistryError, match=r"sent more than 4\.19 MB"),
    ):
        registry(odd.host).resolve()


def test_a_body_that_breaks_off_is_resumed_and_the_end_is_checked(image: Image, tmp_path: Path) -> None:
    def script(asked: StatusReport) -> Reply:
        if "range" in asked.headers:
            return ranged(asked, image.content)
        return Reply(body=image.content[:2_000_000], claim=len(image.content))

    with misbehave(script) as odd:
        registry(odd.host).download(published(image), tmp_path / "got.sif")
        assert [asked.headers.get("range") for asked in odd.asked] == [None, "bytes=2000000-"]
    assert (tmp_path / "got.sif").read_bytes() == image.content


def test_a_later_call_goes_on_where_an_earlier_one_broke_off(image: Image, tmp_path: Path) -> None:
    broken = Reply(body=image.content[:1_500_000], claim=len(image.content))
    once = replace(SWIFT, attempts=1)
    with misbehave(lambda _asked: broken) as odd, pytest.raises(RegistryError, match="was lost"):
        registry(odd.host, policy=once).download(published(image), tmp_path / "got.sif")
    assert not (tmp_path / "got.sif").exists()
    with misbehave(lambda asked: ranged(asked, image.content)) as odd:
        registry(odd.host).download(published(image), tmp_path / "got.sif")
        assert odd.asked[0].headers["range"] == "bytes=1500000-"
    assert (tmp_path / "got.sif").read_bytes() == image.content


@pytest.mark.parametrize(
    "refusal",
    [Reply(416), Reply(206, {"Content-Range": "bytes 0-9/10"}, b"0123456789")],
    ids=["416", "another range"],
)
def test_a_registry_that_cannot_resume_is_asked_for_everything(refusal: Reply, image: Image, tmp_path: Path) -> None:
    def script(asked: StatusReport) -> Reply:
        if "range" in asked.headers:
            return refusal
        if len(odd.asked) == 1:
            return Reply(body=image.content[:2_000_000], claim=len(image.content))
        return Reply(body=image.content)

    with misbehave(script) as odd:
        registry(odd.host).download(published(image), tmp_path / "got.sif")
    assert (tmp_path / "got.sif").read_bytes() == image.content


def test_a_registry_that_ignores_ranges_sends_everything_again(image: Image, tmp_path: Path) -> None:
    def script(_asked: StatusReport) -> Reply:
        if len(odd.asked) == 1:
            return Reply(body=image.content[:2_000_000], claim=len(image.content))
        return Reply(body=image.content)

    with misbehave(script) as odd:
        registry(odd.host).download(published(image), tmp_path / "got.sif")
    assert (tmp_path / "got.sif").read_bytes() == image.content


def test_a_disk_that_takes_only_a_part_of_the_last_block_is_full(image: Image, tmp_path: Path) -> None:
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with misbehave(
        lambda asked: ranged(asked, image.content) if "range" in asked.headers else Reply(body=image.content)
    ) as odd:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(image.content) - 10, limits[1]))
        try:
            with pytest.raises(OSError, match="File too large") as error:
                registry(odd.host).download(published(image), tmp_path / "new" / "got.sif")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, handler)
        assert error.value.filename == str(tmp_path / "new" / "got.sif")
        assert not (tmp_path / "new" / "got.sif").exists()
        registry(odd.host).download(published(image), tmp_path / "new" / "got.sif")
    assert (tmp_path / "new" / "got.sif").read_bytes() == image.content


def test_a_download_to_a_full_disk_is_told_and_goes_on_where_there_is_room(image: Image, tmp_path: Path) -> None:
    script: Script = lambda asked: ranged(asked, image.content) if "range" in asked.headers else Reply(body=image.content)  # noqa: E731
    with misbehave(script) as odd, small_disk(tmp_path / "disk", "1m") as resize:
        with pytest.raises(OSError, match="No space left") as error:
            registry(odd.host).download(published(image), tmp_path / "disk" / "got.sif")
        assert error.value.filename == str(tmp_path / "disk" / "got.sif")
        assert not (tmp_path / "disk" / "got.sif").exists()
        resize("16m")
        registry(odd.host).download(published(image), tmp_path / "disk" / "got.sif")
        assert int(odd.asked[-1].headers["range"].removeprefix("bytes=").removesuffix("-")) > 900_000
        assert (tmp_path / "disk" / "got.sif").read_bytes() == image.content


def test_two_downloads_to_one_place_do_not_mix(image: Image, tmp_path: Path) -> None:
    def script(_asked: StatusReport) -> Reply:
        with pytest.raises(RegistryError, match="another download"):
            registry(odd.host).download(published(image), tmp_path / "got.sif")
        return Reply(body=image.content)

    with misbehave(script) as odd:
        registry(odd.host).download(published(image), tmp_path / "got.sif")
        assert len(odd.asked) == 1
    assert (tmp_path / "got.sif").read_bytes() == image.content


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_passing_trouble_is_waited_out_and_the_file_is_sent_again_from_its_start(status: int, image: Image) -> None:
    def script(asked: StatusReport) -> Reply:
        if len(blobs_put(odd)) == 1 and asked.method == "PUT":
            return Reply(status, {"Retry-After": "0"})
        return uploads(asked)

    with misbehave(script) as odd:
        push(odd, image)
        assert blobs_put(odd) == [image.content, image.content, b"{}"]
        assert odd.methods() == ["HEAD", "POST", "PUT", "POST", "PUT", "HEAD", "POST", "PUT", "PUT"]


def test_retry_after_is_obeyed(image: Image) -> None:
    waits: list[float] = []

    def script(asked: StatusReport) -> Reply:
        return Reply(429, {"Retry-After": "7"}) if len(odd.asked) == 1 else uploads(asked)

    with misbehave(script) as odd:
        push(odd, image, policy=replace(SWIFT, sleep=waits.append))
    assert waits == [7.0]


def test_a_long_retry_after_is_told_and_not_waited_for(image: Image) -> None:
    waits: list[float] = []
    busy = Reply(429, {"Retry-After": "3600"})
    with misbehave(lambda _asked: busy) as odd, pytest.raises(RegistryError, match=r"Retry-After: 3600"):
        push(odd, image, policy=replace(SWIFT, sleep=waits.append))
    assert waits == []


@pytest.mark.parametrize(
    ("status", "words"), [(400, "status 400"), (413, "does not accept a file of this size"), (404, "nothing of that name")]
)
def test_a_permanent_refusal_is_not_asked_again(status: int, words: str, image: Image) -> None:
    said = b'{"errors": [{"code": "ODD", "message": "line\\nfeed"}]}'
    script: Script = lambda asked: Reply(status, body=said) if asked.method == "POST" else uploads(asked)  # noqa: E731
    with misbehave(script) as odd:
        with pytest.raises(RegistryError, match=words) as caught:
            push(odd, image)
        assert odd.methods() == ["HEAD", "POST"]
    assert "(ODD: line feed)" in str(caught.value)


def test_a_refused_connection_is_told_after_a_few_short_waits(image: Image) -> None:
    waits: list[float] = []
    with misbehave(uploads) as odd:
        host = odd.host
    with pytest.raises(RegistryError, match=f"nothing listens at {host} after 4 attempts"):
        registry(host, policy=replace(SWIFT, first_wait=0.5, sleep=waits.append)).resolve()
    assert waits == [0.5, 1.0, 2.0]


BASIC = {"WWW-Authenticate": 'Basic realm="x"'}


def locked(asked: StatusReport, otherwise: Reply) -> Reply:
    return otherwise if "authorization" in asked.headers else Reply(401, BASIC)


def test_credentials_do_not_follow_a_redirect_to_another_host(image: Image, tmp_path: Path) -> None:
    with misbehave(lambda _asked: Reply(body=image.content)) as store:
        there = Reply(307, {"Location": f"http://{store.host}/blob?signature=1"})
        with misbehave(lambda asked: locked(asked, there)) as odd:
            registry(odd.host, found=user("me", "secret")).download(published(image), tmp_path / "got.sif")
        assert [("authorization" in asked.headers) for asked in store.asked] == [False]
    assert (tmp_path / "got.sif").read_bytes() == image.content


def test_credentials_do_not_follow_an_upload_to_another_host(image: Image) -> None:
    with misbehave(lambda _asked: Reply(201)) as store:
        script: Script = lambda asked: locked(asked, uploads(asked, location=f"http://{store.host}/upload"))  # noqa: E731
        with misbehave(script) as odd:
            push(odd, image, found=user("me", "secret"))
        assert hashlib.sha256(store.asked[0].body).hexdigest() == image.sha256
        assert not any("authorization" in asked.headers for asked in store.asked)
        assert store.asked[0].path.startswith("/upload?digest=sha256%3A")


def test_another_host_that_asks_for_credentials_gets_none(image: Image, tmp_path: Path) -> None:
    with misbehave(lambda _asked: Reply(401, BASIC)) as store:
        there = Reply(302, {"Location": f"http://{store.host}/blob"})
        with misbehave(lambda asked: locked(asked, there)) as odd, pytest.raises(AuthenticationError):
            registry(odd.host, found=user("me", "secret")).download(published(image), tmp_path / "got.sif")
        assert not any("authorization" in asked.headers for asked in store.asked)


def test_a_token_service_elsewhere_is_not_shown_credentials(image: Image) -> None:
    away = Reply(401, {"WWW-Authenticate": 'Bearer realm="https://evil.example.org/token",service="x"'})
    for found in (user("me", "canary"), NOTHING):
        with (
            misbehave(lambda _asked: away) as odd,
            pytest.raises(
                AuthenticationError, match=r'set token-service = "evil\.example\.org" in \[registries\.'
            ) as caught,
        ):
            push(odd, image, found=found)
        assert "canary" not in str(caught.value)
        assert odd.methods() == ["HEAD"]


def test_a_refusal_without_a_challenge_is_told(image: Image) -> None:
    with misbehave(lambda _asked: Reply(403)) as odd, pytest.raises(AuthenticationError, match="denied"):
        registry(odd.host, found=user("me", "secret")).resolve()


def test_redirects_in_a_circle_end(image: Image, tmp_path: Path) -> None:
    with (
        misbehave(lambda _asked: Reply(302, {"Location": "/again"})) as odd,
        pytest.raises(RegistryError, match="status 302"),
    ):
        registry(odd.host).download(published(image), tmp_path / "got.sif")
    assert len(odd.asked) == 6


def unknown_upload(times: int, code: str = "BLOB_UPLOAD_UNKNOWN", status: int = 404) -> Script:
    """Answer so often that the upload of the image is not known."""
    told: list[StatusReport] = []

    def script(asked: StatusReport) -> Reply:
        if asked.method == "PUT" and "/blobs/" in asked.path and len(told) < times:
            told.append(asked)
            return Reply(status, body=b'{"errors": [{"code": "%s", "message": "m"}]}' % code.encode())
        return uploads(asked)

    return script


@pytest.mark.parametrize("code", ["BLOB_UPLOAD_UNKNOWN", "BLOB_UPLOAD_INVALID", "DIGEST_INVALID", "ANOTHER"])
def test_an_upload_that_the_registry_lost_or_got_damaged_is_begun_again(code: str, image: Image) -> None:
    with misbehave(unknown_upload(2, code, 404 if code == "ANOTHER" else 400)) as odd:
        push(odd, image)
        assert blobs_put(odd) == [image.content] * 3 + [b"{}"]
        assert odd.methods()[:7] == ["HEAD", "POST", "PUT", "POST", "PUT", "POST", "PUT"]


def test_an_upload_that_the_registry_loses_each_time_is_no_image_that_should_be_pushed_first(image: Image) -> None:
    with (
        misbehave(unknown_upload(99)) as odd,
        pytest.raises(RegistryError, match=r"no longer knows the upload.*4 attempts") as caught,
    ):
        push(odd, image)
    assert "push it first" not in str(caught.value)
    assert caught.value.exit_code == 68


def test_a_file_that_is_another_one_than_recorded_is_not_sent_again(image: Image) -> None:
    image.path.write_bytes(image.content[:-1] + b"!")
    with (
        misbehave(unknown_upload(99, "DIGEST_INVALID", 400)) as odd,
        pytest.raises(RegistryError, match="does not match the record"),
    ):
        push(odd, image)
    assert odd.methods() == ["HEAD", "POST", "PUT"]


def test_an_upload_whose_address_was_lost_once_is_begun_again(image: Image) -> None:
    script: Script = lambda asked: uploads(asked, location="") if len(odd.asked) == 2 else uploads(asked)  # noqa: E731
    with misbehave(script) as odd:
        push(odd, image)
        assert blobs_put(odd)[0] == image.content


MANIFEST = render_manifest(sha256="1" * 64, size=1, title="x.sif", created=CREATED, annotations={})


@pytest.mark.parametrize(
    "first",
    [Reply(body=MANIFEST[:50], claim=len(MANIFEST)), Reply(body=MANIFEST[:50]), Reply(body=b"?" + MANIFEST[1:])],
    ids=["cut", "cut without a word", "damaged"],
)
def test_a_manifest_that_breaks_off_or_is_damaged_is_read_again(first: Reply) -> None:
    said = {"Docker-Content-Digest": f"sha256:{digest_of(MANIFEST)}"}
    script: Script = lambda _asked: replace(first if len(odd.asked) == 1 else Reply(body=MANIFEST), headers=said)  # noqa: E731
    with misbehave(script) as odd:
        assert registry(odd.host).resolve().sha256 == "1" * 64
        assert len(odd.asked) == 2


def test_a_manifest_that_always_breaks_off_is_a_registrys_error() -> None:
    cut = Reply(body=MANIFEST[:50], claim=len(MANIFEST))
    with misbehave(lambda _asked: cut) as odd, pytest.raises(RegistryError, match="was lost after 4 attempts") as caught:
        registry(odd.host).resolve()
    assert caught.value.exit_code == 68


def test_a_download_that_breaks_off_more_often_than_patience_allows_goes_on_as_long_as_more_comes(
    image: Image, tmp_path: Path
) -> None:
    def script(asked: StatusReport) -> Reply:
        reply = ranged(asked, image.content) if "range" in asked.headers else Reply(body=image.content)
        return replace(reply, claim=len(reply.body), body=reply.body[:200_000])

    with misbehave(script) as odd:
        registry(odd.host).download(published(image), tmp_path / "got.sif")
        assert len(odd.asked) > 2 * SWIFT.attempts
    assert (tmp_path / "got.sif").read_bytes() == image.content


def test_another_range_than_was_asked_for_is_not_taken_for_the_beginning(image: Image, tmp_path: Path) -> None:
    odd_range = Reply(
        206, {"Content-Range": f"bytes 100-{len(image.content) - 1}/{len(image.content)}"}, image.content[100:]
    )
    script: Script = lambda _asked: odd_range if len(odd.asked) % 2 else Reply(body=image.content)  # noqa: E731
    with misbehave(script) as odd:
        assert streamed(odd, image) == image.content
        registry(odd.host).download(published(image), tmp_path / "got.sif")
    assert (tmp_path / "got.sif").read_bytes() == image.content


def test_tags_in_a_circle_end() -> None:
    page = Reply(headers={"Link": '</v2/lab/train/tags/list?last=a>; rel="next"'}, body=b'{"tags": ["a"]}')
    with misbehave(lambda _asked: page) as odd, pytest.raises(RegistryError, match="was read before"):
        registry(odd.host).tags()
    assert len(odd.asked) == 2


def token_service(odd: OddServer, asked: StatusReport, *, refused: int, replies: list[Reply]) -> Reply:
    """Answer as a registry with a token service of its own, which gives `replies` and then tokens that count.

    So many tokens are refused, each with the realm of another host: nvcr.io does that.
    """
    if asked.path.startswith("/token"):
        return replies.pop(0) if replies else Reply(body=b'{"token": "t%d"}' % len(odd.asked))
    sent = (one.headers.get("authorization", "") for one in odd.asked)
    tokens = {words for words in sent if words.startswith("Bearer ")}
    realm = "https://elsewhere.example.org/token" if tokens else f"http://{odd.host}/token"
    refusal = Reply(401, {"WWW-Authenticate": f'Bearer realm="{realm}",service="x"'})
    return Reply(body=MANIFEST) if len(tokens) > refused else refusal


@pytest.mark.parametrize(
    "first", [Reply(503), Reply(429, {"Retry-After": "0"}), Reply(body=b'{"tok'), Reply(body=b"", claim=9)]
)
def test_a_token_service_with_passing_trouble_is_asked_again(first: Reply) -> None:
    replies = [first]
    with misbehave(lambda asked: token_service(odd, asked, refused=0, replies=replies)) as odd:
        assert registry(odd.host).resolve().sha256 == "1" * 64


def test_a_token_service_in_trouble_is_named_and_no_credentials_are_blamed() -> None:
    replies = [Reply(503)] * 9
    with (
        misbehave(lambda asked: token_service(odd, asked, refused=0, replies=replies)) as odd,
        pytest.raises(RegistryError, match=r"token service at 127\.0\.0\.1 answered with status 503 after 4 attempts"),
    ):
        registry(odd.host, found=user("me", "secret")).resolve()


def test_a_token_that_is_refused_is_exchanged_at_the_service_that_gave_it() -> None:
    with misbehave(lambda asked: token_service(odd, asked, refused=2, replies=[])) as odd:
        assert registry(odd.host, found=user("me", "secret")).resolve().sha256 == "1" * 64
    with (
        misbehave(lambda asked: token_service(odd, asked, refused=99, replies=[])) as odd,
        pytest.raises(AuthenticationError, match="denied"),
    ):
        registry(odd.host, found=user("me", "secret")).resolve()
    assert sum(one.path.startswith("/token") for one in odd.asked) == 3


def test_an_upload_without_a_place_to_go_is_told_and_no_secret_is_shown(image: Image) -> None:
    with (
        misbehave(lambda asked: uploads(asked, location="")) as odd,
        pytest.raises(RegistryError, match="sent no valid URL in the header Location"),
    ):
        push(odd, image)
    script: Script = lambda asked: Reply(400) if asked.method == "PUT" else uploads(asked)  # noqa: E731
    with misbehave(script) as odd, pytest.raises(RegistryError) as caught:
        push(odd, image)
    assert "canary" not in str(caught.value)


def test_a_file_that_shrinks_while_it_is_pushed_is_told(tmp_path: Path) -> None:
    image = make_image(tmp_path)

    def shrink(done: int, _total: int) -> None:
        with image.path.open("r+b") as file:
            file.truncate(done)

    with misbehave(uploads) as odd, pytest.raises(RegistryError, match="became shorter"):
        registry(odd.host).push(image.path, sha256=image.sha256, created=CREATED, progress=shrink)
