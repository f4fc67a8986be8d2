"""Know the limits of registries, so that an upload is not rejected after an hour."""

from hpcdeploy.registry.reference import Reference

# Maximum size of a layer in bytes, by host. GitHub: "Working with the Container registry", which also limits an upload to 10
# minutes.
_LARGEST_LAYER = {"ghcr.io": 10 * 10**9}
_GIGABYTE = 10**9


def size_warning(reference: Reference, size: int) -> str:
    """Return a warning for an image of `size` bytes that its registry is known to reject; empty otherwise."""
    limit = _LARGEST_LAYER.get(reference.host)
    if limit is None or size <= limit:
        return ""
    return (
        f"The image has {size / _GIGABYTE:.1f} GB but {reference.host} accepts at most {limit / _GIGABYTE:.0f} GB "
        "per layer: make the image smaller or use another registry."
    )
