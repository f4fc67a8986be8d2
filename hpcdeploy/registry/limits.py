"""What registries are known not to take, so that nobody learns it after an hour of uploading."""

from hpcdeploy.registry.reference import Reference

# Largest layer in bytes, by host. GitHub: "Working with the Container registry", which also ends an upload after 10 minutes.
_LARGEST_LAYER = {"ghcr.io": 10 * 10**9}
_GIGABYTE = 10**9


def size_warning(reference: Reference, size: int) -> str:
    """Warn in a sentence of an image of `size` bytes that its registry is known to refuse; else give nothing."""
    limit = _LARGEST_LAYER.get(reference.host)
    if limit is None or size <= limit:
        return ""
    return (
        f"The image has {size / _GIGABYTE:.1f} GB and {reference.host} takes at most {limit / _GIGABYTE:.0f} GB a layer: "
        "expect a refusal, make the image smaller or use another registry."
    )
