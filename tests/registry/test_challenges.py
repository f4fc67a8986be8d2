import pytest

from hpcdeploy.registry.challenges import (
    Challenge,
    is_downgrade,
    may_ask_realm,
    may_see_credentials,
    merge_scopes,
    origin_of,
    parse_challenges,
)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (
            'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push"',
            (
                Challenge(
                    scheme="bearer",
                    realm="https://auth.docker.io/token",
                    service="registry.docker.io",
                    scope="repository:a/b:pull,push",
                ),
            ),
        ),
        ('Basic realm="Registry Realm"', (Challenge(scheme="basic", realm="Registry Realm"),)),
        ("BASIC realm=x", (Challenge(scheme="basic", realm="x"),)),
        (
            'Basic realm="a", Bearer realm="https://b/t", service="c"',
            (Challenge(scheme="basic", realm="a"), Challenge(scheme="bearer", realm="https://b/t", service="c")),
        ),
        (
            'Bearer realm="https://b/t",error="insufficient_scope"',
            (Challenge(scheme="bearer", realm="https://b/t"),),
        ),
        ("", ()),
        ("Unheard of=1", ()),
    ],
)
def test_a_challenge_is_read_in_every_form_that_registries_use(header: str, expected: tuple[Challenge, ...]) -> None:
    assert parse_challenges(header) == expected


def test_scopes_are_joined_by_resource() -> None:
    assert merge_scopes("repository:a/b:pull", "repository:a/b:pull,push") == "repository:a/b:pull,push"
    assert merge_scopes("repository:a:pull repository:b:pull", "") == "repository:a:pull repository:b:pull"
    assert merge_scopes("", "") == ""


def test_an_origin_has_its_default_port() -> None:
    assert origin_of("https://GHCR.io/v2/") == origin_of("https://ghcr.io:443/x")
    assert origin_of("http://ghcr.io/") != origin_of("https://ghcr.io/")


def test_only_leaving_tls_is_a_downgrade() -> None:
    assert is_downgrade("https://a/", "http://a/")
    assert not is_downgrade("http://a/", "https://a/")
    assert not is_downgrade("http://a/", "http://b/")


@pytest.mark.parametrize(
    ("registry", "realm", "ask", "credentials"),
    [
        ("https://ghcr.io", "https://ghcr.io/token", True, True),
        ("https://registry-1.docker.io", "https://auth.docker.io/token", True, True),
        ("https://registry.gitlab.com", "https://gitlab.com/jwt/auth", True, True),
        ("https://registry.example.org:5050", "https://git.example.org/jwt", True, True),
        ("https://ghcr.io", "https://evil.example.org/token", True, False),
        ("https://ghcr.io", "https://notghcr.io/token", True, False),
        ("https://example.org", "https://evil.org/token", True, False),
        ("https://ghcr.io", "http://ghcr.io/token", False, False),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5001/token", True, True),
        ("http://localhost:5000", "http://127.0.0.1:5001/token", True, True),
        ("http://registry.example.org", "http://registry.example.org/token", True, True),
        ("http://registry.example.org", "http://evil.example.org/token", False, False),
        ("https://ghcr.io", "", False, False),
        ("https://ghcr.io", "/token", False, False),
        ("https://ghcr.io", "file:///etc/passwd", False, False),
    ],
)
def test_credentials_stay_in_the_registrys_own_domain_and_in_tls(
    registry: str, realm: str, ask: bool, credentials: bool
) -> None:
    assert may_ask_realm(registry, realm) is ask
    assert may_see_credentials(registry, realm) is credentials
