"""Format sizes for people."""


def written(size: int | None) -> str:
    """Return a size in bytes for people: three digits and a decimal unit, as conda channels use; ``?`` if unknown."""
    if size is None:
        return "?"
    value, unit = float(size), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if abs(value) < 999.5:
            break
        value, unit = value / 1000, larger
    return f"{size} B" if unit == "B" else f"{value:.{2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0}f} {unit}"
