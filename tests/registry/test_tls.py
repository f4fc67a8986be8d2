"""Certificates, and ways out of TLS, with a real docker-registry that speaks it."""

import ipaddress
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from hpcdeploy.errors import RegistryError
from hpcdeploy.registry.oci_client import OciClient
from hpcdeploy.registry.reference import parse_reference
from tests.registry.daemons import serve
from tests.registry.images import NOTHING, SWIFT


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A certificate for 127.0.0.1 that no machine trusts, and its key, as docker-registry's configuration names them."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return {"certificate": str(folder / "certificate.pem"), "key": str(folder / "key.pem")}


@contextmanager
def client(host: str) -> Iterator[OciClient]:
    """A client that speaks TLS to this machine too, which `Registry` never does."""
    spoken = OciClient(parse_reference(f"{host}/lab/tls"), NOTHING, plain_http=False, policy=SWIFT, doing="Pushing")
    with spoken.session:
        yield spoken


def test_an_unknown_certificate_is_refused_and_a_named_authority_is_trusted(
    registry_program: Path, authority: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    with serve(registry_program, tmp_path / "registry", http={"tls": authority}) as host:
        with client(host) as spoken, pytest.raises(RegistryError, match=r"certificate.*REQUESTS_CA_BUNDLE"):
            spoken.upload_blob(b"{}", digest, 2)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", authority["certificate"])
        with client(host) as spoken:
            assert spoken.upload_blob(b"{}", digest, 2).status_code == 201


def test_a_registry_that_sends_an_upload_out_of_tls_is_refused(
    registry_program: Path, authority: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", authority["certificate"])
    digest = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    http = {"tls": authority, "host": "http://127.0.0.1:1"}
    with (
        serve(registry_program, tmp_path / "registry", http=http) as host,
        client(host) as spoken,
        pytest.raises(RegistryError, match="without TLS"),
    ):
        spoken.upload_blob(b"{}", digest, 2)


def test_a_registry_without_tls_where_tls_is_expected_is_told(open_host: str) -> None:
    with client(open_host) as spoken, pytest.raises(RegistryError, match="does not use TLS"):
        spoken.list_tags()
