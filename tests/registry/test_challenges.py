import pytest

from hpcdeploy.registry.authentication import (
    Challenge,
    may_ask_realm,
    merge_scopes,
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


@pytest.mark.parametrize(
    ("registry", "realm", "expected"),
    [
        # Real ones; sources: hpcdeploy.registry.authentication.TOKEN_SERVICES.
        ("https://ghcr.io", "https://ghcr.io/token", True),
        ("https://quay.io", "https://quay.io/v2/auth", True),
        ("https://nvcr.io", "https://nvcr.io/proxy_auth", True),
        ("https://public.ecr.aws", "https://public.ecr.aws/token/", True),
        ("https://contoso.azurecr.io", "https://contoso.azurecr.io/oauth2/token", True),
        ("https://us-docker.pkg.dev", "https://us-docker.pkg.dev/v2/token", True),
        ("https://registry-1.docker.io", "https://auth.docker.io/token", True),
        ("https://registry.gitlab.com", "https://gitlab.com/jwt/auth", True),
        ("https://git.example.org:5050", "https://git.example.org/jwt/auth", True),
        # The same domain is not the same owner, as on github.io or azurecr.io.
        ("https://registry.example.org:5050", "https://git.example.org/jwt", False),
        ("https://contoso.azurecr.io", "https://evil.azurecr.io/oauth2/token", False),
        ("https://registry.gitlab.com", "https://auth.docker.io/token", False),
        ("https://ghcr.io", "https://evil.example.org/token", False),
        ("https://ghcr.io", "https://notghcr.io/token", False),
        ("https://ghcr.io", "https://ghcr.io.evil.org/token", False),
        ("https://ghcr.io", "https://ghcr.io@evil.org/token", False),
        ("https://example.org", "https://evil.org/token", False),
        ("https://ghcr.io", "http://ghcr.io/token", False),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5001/token", True),
        ("http://localhost:5000", "http://127.0.0.1:5001/token", True),
        ("http://localhost:5000", "http://evil.localhost:5001/token", False),
        ("http://127.0.0.1:5000", "https://ghcr.io/token", False),
        ("http://registry.example.org", "http://registry.example.org/token", True),
        ("http://registry.example.org", "http://evil.example.org/token", False),
        ("https://ghcr.io", "", False),
        ("https://ghcr.io", "/token", False),
        ("https://ghcr.io", "https:///token", False),
        ("https://ghcr.io", "file:///etc/passwd", False),
        # Parsers read these differently; the first is sent to evil.example.org.
        ("https://ghcr.io", r"https://evil.example.org\@ghcr.io/token", False),
        ("https://ghcr.io", "https://me@ghcr.io/token", False),
        ("https://ghcr.io", "https://ghcr%2eio/token", False),
        ("http://[::1]:5000", "http://[::1]:5001/token", True),
        ("http://[::1]:5000", "http://localhost:5001/token", True),
    ],
)
def test_tokens_come_from_the_registrys_own_host_or_from_one_that_is_known_for_it(
    registry: str, realm: str, expected: bool
) -> None:
    assert may_ask_realm(registry, realm) is expected


@pytest.mark.parametrize(
    ("token_service", "realm", "expected"),
    [
        ("git.example.org", "https://git.example.org/jwt/auth", True),
        ("git.example.org", "https://git.example.org:8443/jwt/auth", True),
        ("git.example.org:8443", "https://git.example.org:8443/jwt/auth", True),
        ("git.example.org:443", "https://git.example.org/jwt/auth", True),
        ("git.example.org:8443", "https://git.example.org/jwt/auth", False),
        ("git.example.org", "http://git.example.org/jwt/auth", False),
        ("git.example.org", "https://evil.example.org/jwt/auth", False),
    ],
)
def test_the_persons_settings_name_the_token_service_of_a_registry_of_ones_own(
    token_service: str, realm: str, expected: bool
) -> None:
    assert may_ask_realm("https://registry.example.org", realm, token_service) is expected
