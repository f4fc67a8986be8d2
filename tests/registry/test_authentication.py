"""The one rule of the back end that no registry can show, because the client never gives it the occasion."""

import requests

from hpcdeploy.registry.authentication import ScopedAuth
from hpcdeploy.registry.credentials import Credentials


def refusal(url: str) -> requests.Response:
    response = requests.Response()
    response.status_code = 401
    response.url = url
    response.headers["WWW-Authenticate"] = 'Basic realm="x"'
    return response


def test_another_hosts_challenge_is_not_answered() -> None:
    auth = ScopedAuth(requests.Session())
    auth.registry = "https://ghcr.io"
    auth.credentials = Credentials(source="a file", username="me", password="secret")
    assert auth.authenticate_request(refusal("https://evil.example.org/x"), {}) == ({}, False)
    assert auth.authenticate_request(refusal("http://ghcr.io/x"), {}) == ({}, False)
    assert auth.authenticate_request(refusal("https://ghcr.io/v2/"), {}) == ({"Authorization": "Basic bWU6c2VjcmV0"}, True)
