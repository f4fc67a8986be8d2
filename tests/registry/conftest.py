import shutil
from collections.abc import Iterator
from pathlib import Path

import bcrypt
import pytest

from hpcdeploy_lab import rootfs
from hpcdeploy_lab.settings import default_settings
from tests.registry.daemons import serve
from tests.registry.images import Image, make_image
from tests.registry.token_service import PASSWORD, USER, TokenService, serve_tokens


@pytest.fixture(scope="session")
def registry_program(request: pytest.FixtureRequest) -> Path:
    """Debian's docker-registry: this machine's, else the one in the lab's root file system, which runs anywhere."""
    here = shutil.which("docker-registry")
    if here is not None:
        return Path(here)
    made = rootfs.path(default_settings())
    folder: Path = made if made.is_dir() else request.getfixturevalue("lab").rootfs
    return folder / "usr" / "bin" / "docker-registry"


@pytest.fixture(scope="session")
def open_host(registry_program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry that lets everybody in."""
    with serve(registry_program, tmp_path_factory.mktemp("open") / "registry") as host:
        yield host


@pytest.fixture(scope="session")
def basic_host(registry_program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry with one user in a password file."""
    folder = tmp_path_factory.mktemp("basic")
    passwords = folder / "htpasswd"
    passwords.write_text(f"{USER}:{bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()}\n")
    with serve(registry_program, folder / "registry", htpasswd={"realm": "test", "path": str(passwords)}) as host:
        yield host


@pytest.fixture(scope="session")
def token_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenService]:
    with serve_tokens(TokenService(tmp_path_factory.mktemp("tokens"))) as service:
        yield service


@pytest.fixture(scope="session")
def token_host(
    registry_program: Path, token_server: TokenService, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A registry that takes the token service's tokens and nothing else."""
    with serve(registry_program, tmp_path_factory.mktemp("token") / "registry", token=token_server.auth) as host:
        yield host


@pytest.fixture
def tokens(token_server: TokenService) -> TokenService:
    """The token service, as new."""
    token_server.asked.clear()
    token_server.withhold = 0
    token_server.life = 300
    return token_server


@pytest.fixture
def image(tmp_path: Path) -> Image:
    return make_image(tmp_path)
