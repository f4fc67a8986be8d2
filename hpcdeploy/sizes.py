"""How a number of bytes is written for people."""


def written(size: int | None) -> str:
    """Write a size (bytes) for people: three digits and the decimal unit, as channels do; ``?`` where nobody knows."""
    if size is None:
        return "?"
    value, unit = float(size), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if abs(value) < 999.5:
            break
        value, unit = value / 1000, larger
    return f"{size} B" if unit == "B" else f"{value:.{2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0}f} {unit}"
