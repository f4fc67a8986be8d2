"""Parse the addresses of base images in a definition's ``From`` header."""


def registry_of(source: str) -> str:
    """Return the registry of an image address.

    It is ``docker.io`` unless the first component looks like a host (has a dot or a colon, or is ``localhost``).
    """
    first, slash, _ = source.partition("/")
    return first if slash and ("." in first or ":" in first or first == "localhost") else "docker.io"
