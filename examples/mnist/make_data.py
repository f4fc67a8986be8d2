"""Draw a small archive in MNIST's own format: four IDX files, packed. Put the real one in its place if you have it.

The format is that of http://yann.lecun.com/exdb/mnist (section "FILE FORMATS FOR THE MNIST DATABASE"): big-endian magic
number and sizes, then one byte a pixel, 28 x 28 for each image, and one byte a label.
"""

import gzip
import io
import random
import struct
import sys
import tarfile
from pathlib import Path

SIDE = 28
SHAPES = (
    "01110 10001 10011 10101 11001 10001 01110",
    "00100 01100 00100 00100 00100 00100 01110",
    "01110 10001 00001 00110 01000 10000 11111",
    "01110 10001 00001 00110 00001 10001 01110",
    "00010 00110 01010 10010 11111 00010 00010",
    "11111 10000 11110 00001 00001 10001 01110",
    "01110 10000 11110 10001 10001 10001 01110",
    "11111 00001 00010 00100 01000 01000 01000",
    "01110 10001 10001 01110 10001 10001 01110",
    "01110 10001 10001 01111 00001 00001 01110",
)
"""The ten digits, 7 rows of 5 dots each; a dot becomes 3 x 3 pixels."""


def draw(digit: int, chance: random.Random) -> bytes:
    """Return one image of 28 x 28 bytes: the digit somewhere near the middle, with some noise."""
    pixels = bytearray(chance.randrange(40) for _ in range(SIDE * SIDE))
    left, top = chance.randint(4, 9), chance.randint(1, 6)
    for row, dots in enumerate(SHAPES[digit].split()):
        for column, dot in enumerate(dots):
            for y in range(3):
                for x in range(3):
                    if dot == "1":
                        pixels[(top + 3 * row + y) * SIDE + left + 3 * column + x] = chance.randint(180, 255)
    return bytes(pixels)


def write(path: Path, train: int, test: int) -> None:
    """Write the archive at `path`: `train` and `test` are numbers of images; the same numbers give the same archive."""
    chance = random.Random(4)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, count in (("train", train), ("t10k", test)):
            labels = bytes(chance.randrange(10) for _ in range(count))
            images = b"".join(draw(label, chance) for label in labels)
            for kind, content in (
                ("images-idx3", struct.pack(">IIII", 2051, count, SIDE, SIDE) + images),
                ("labels-idx1", struct.pack(">II", 2049, count) + labels),
            ):
                packed = gzip.compress(content, mtime=0)
                entry = tarfile.TarInfo(f"{name}-{kind}-ubyte.gz")
                entry.size = len(packed)
                archive.addfile(entry, io.BytesIO(packed))


if __name__ == "__main__":
    write(Path(sys.argv[1] if len(sys.argv) > 1 else "data/mnist.tar"), train=600, test=100)
