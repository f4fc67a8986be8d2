"""A token service as docker-registry's ``auth: token`` trusts it: signed tokens with scopes, over loopback.

The registry does the checking; this only issues (distribution, "Token authentication implementation").
"""

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import NameOID

SERVICE = "registry.test"
ISSUER = "issuer.test"
USER, PASSWORD, IDENTITY = "alice", "correct horse", "an identity token"


@dataclass
class TokenService:
    """Issues tokens and remembers what it was asked; ``withhold`` is the number of answers that leave ``push`` out."""

    folder: Path
    realm: str = ""
    withhold: int = 0
    life: int = 300
    asked: list[tuple[str, ...]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, ISSUER)])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self.key.public_key())
            .serial_number(1)
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .sign(self.key, hashes.SHA256())
        )
        self.folder.mkdir(parents=True, exist_ok=True)
        self.bundle = self.folder / "bundle.pem"
        self.bundle.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    @property
    def auth(self) -> dict[str, str]:
        """What the registry's configuration says of this service."""
        return {"realm": self.realm, "service": SERVICE, "issuer": ISSUER, "rootcertbundle": str(self.bundle)}

    def issue(self, scopes: list[str], *, allowed: bool) -> bytes:
        """Sign a token: everything for a known user, nothing but pulling for others."""
        self.asked.append(tuple(scopes))
        access = []
        for scope in " ".join(scopes).split():
            kind, name, actions = scope.split(":", 1)[0], scope.split(":", 1)[1].rpartition(":")[0], scope.rpartition(":")[2]
            granted = [a for a in actions.split(",") if a == "pull" or (allowed and self.withhold <= 0)]
            access.append({"type": kind, "name": name, "actions": granted})
        self.withhold -= 1
        return self._answer(access, expires=300)

    def weak(self, *, expired: bool) -> bytes:
        """Sign a token that is of no use: without any right, or `expired` two minutes ago (the registry allows one)."""
        return self._answer([], expires=-120 if expired else 300)

    def _answer(self, access: list[dict[str, Any]], *, expires: int) -> bytes:
        now = int(time.time())
        claims = {
            "iss": ISSUER, "sub": USER, "aud": SERVICE, "exp": now + expires, "nbf": now - 600, "iat": now - 600,
            "jti": secrets.token_hex(4), "access": access,
        }  # fmt: skip
        token = self.sign(claims)
        return json.dumps({"token": token, "access_token": token, "expires_in": self.life}).encode()

    def sign(self, claims: dict[str, Any]) -> str:
        """Make a compact ES256 token; the key's id is libtrust's fingerprint, which docker-registry 2 looks up."""
        public = self.key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        letters = base64.b32encode(hashlib.sha256(public).digest()[:30]).decode()
        kid = ":".join(letters[i : i + 4] for i in range(0, len(letters), 4))
        head = json.dumps({"typ": "JWT", "alg": "ES256", "kid": kid}).encode()
        signed = f"{_pack(head)}.{_pack(json.dumps(claims).encode())}"
        r, s = decode_dss_signature(self.key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{_pack(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def _pack(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@contextmanager
def serve_tokens(service: TokenService) -> Iterator[TokenService]:
    """Answer GET (Basic) and POST (OAuth2 with a refresh token) until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            given = self.headers.get("Authorization", "")
            expected = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
            if given not in ("", expected):
                return self.answer(401, b'{"errors": []}')
            scopes = parse_qs(urlsplit(self.path).query).get("scope", [])
            return self.answer(200, service.issue(scopes, allowed=bool(given)))

        def do_POST(self) -> None:
            form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            if form["grant_type"] != ["refresh_token"] or form["refresh_token"] != [IDENTITY]:
                return self.answer(401, b'{"errors": []}')
            return self.answer(200, service.issue(form.get("scope", []), allowed=True))

        def answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            with suppress(BrokenPipeError, ConnectionResetError):  # a client that hung up
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, *_words: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        service.realm = f"http://127.0.0.1:{server.server_port}/token"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield service
        finally:
            server.shutdown()
            thread.join()
