"""Addresses of base images, as a definition's ``From`` has them."""


def registry_of(source: str) -> str:
    """Return the registry of an image's address: ``docker.io`` where the first part is no host (dot, colon, localhost)."""
    first, slash, _ = source.partition("/")
    return first if slash and ("." in first or ":" in first or first == "localhost") else "docker.io"
