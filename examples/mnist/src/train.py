"""Train a digit classifier on MNIST, and keep the model: with PyTorch where it is, else in a few lines of plain Python."""

import argparse
import csv
import gzip
import json
import math
import os
import random
import struct
import tarfile
from collections.abc import Sequence
from pathlib import Path

try:
    import torch
except ImportError:  # the lab's channel has none; the job is the same
    torch = None

POOL = 4
"""Images of 28 x 28 pixels are averaged over squares of this side: 49 numbers are enough for plain Python."""


def read(archive: Path, name: str) -> tuple[list[bytes], bytes]:
    """Return the images (28 x 28 bytes each) and the labels of ``train`` or ``t10k``."""
    with tarfile.open(archive) as packed:

        def content(kind: str) -> bytes:
            file = packed.extractfile(f"{name}-{kind}-ubyte.gz")
            assert file is not None
            return gzip.decompress(file.read())

        images, labels = content("images-idx3"), content("labels-idx1")
    count, height, width = struct.unpack(">III", images[4:16])
    size = height * width
    return [images[16 + size * n : 16 + size * (n + 1)] for n in range(count)], labels[8:]


def pooled(image: bytes) -> list[float]:
    """Average an image over squares; one more input is always 1."""
    side = 28 // POOL
    sums = [0] * (side * side)
    for place, value in enumerate(image):
        sums[place // 28 // POOL * side + place % 28 // POOL] += value
    return [*(total / (255 * POOL * POOL) for total in sums), 1.0]


class PlainModel:
    """Softmax regression by stochastic gradient descent."""

    device = "plain Python"

    def __init__(self, inputs: int) -> None:
        self.weights = [[0.0] * inputs for _ in range(10)]

    def epoch(self, images: Sequence[list[float]], labels: Sequence[int], rate: float) -> float:
        """Go once over the images; return the mean loss."""
        loss = 0.0
        for number in random.sample(range(len(images)), len(images)):
            likely = self.probabilities(images[number])
            loss -= math.log(max(likely[labels[number]], 1e-12))
            for digit, weights in enumerate(self.weights):
                step = rate * (likely[digit] - (digit == labels[number]))
                for place, value in enumerate(images[number]):
                    weights[place] -= step * value
        return loss / len(images)

    def probabilities(self, inputs: Sequence[float]) -> list[float]:
        """Return how likely each digit is."""
        scores = [sum(map(float.__mul__, weights, inputs)) for weights in self.weights]
        parts = [math.exp(score - max(scores)) for score in scores]
        return [part / sum(parts) for part in parts]


class TorchModel:
    """The same in PyTorch, on the GPU where the job has one."""

    def __init__(self, inputs: int) -> None:
        self.device = torch.cuda.get_device_name() if torch.cuda.is_available() else "PyTorch without a GPU"
        self.where = "cuda" if torch.cuda.is_available() else "cpu"
        self.layer = torch.nn.Linear(inputs, 10, bias=False).to(self.where)

    @property
    def weights(self) -> list[list[float]]:
        """The layer's weights, one list a digit."""
        return self.layer.weight.tolist()

    def epoch(self, images: Sequence[list[float]], labels: Sequence[int], rate: float) -> float:
        """Go once over the images; return the mean loss."""
        optimizer = torch.optim.SGD(self.layer.parameters(), lr=rate)
        inputs, wanted = torch.tensor(images, device=self.where), torch.tensor(labels, device=self.where)
        total = 0.0
        for number in torch.randperm(len(images)).tolist():
            loss = torch.nn.functional.cross_entropy(self.layer(inputs[number : number + 1]), wanted[number : number + 1])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        return total / len(images)

    def probabilities(self, inputs: Sequence[float]) -> list[float]:
        """Return how likely each digit is."""
        with torch.no_grad():
            return self.layer(torch.tensor(inputs, device=self.where)).softmax(0).tolist()


def accuracy(model: "PlainModel | TorchModel", images: Sequence[list[float]], labels: Sequence[int]) -> float:
    """Return the share of images whose digit is told right."""
    told = (max(range(10), key=model.probabilities(image).__getitem__) for image in images)
    return sum(map(int.__eq__, told, labels)) / len(images)


def main() -> None:
    """Train; write ``history.csv`` after each epoch, and the model at the end."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True, help="a tar of MNIST's four files")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--rate", type=float, default=0.1, help="the learning rate")
    parser.add_argument("--model", type=Path, default=Path("model.json"), help="where the model goes")
    given = parser.parse_args()
    random.seed(0)
    train, labels = read(given.data, "train")
    test, test_labels = read(given.data, "t10k")
    images, test_images = [pooled(image) for image in train], [pooled(image) for image in test]
    model = TorchModel(len(images[0])) if torch else PlainModel(len(images[0]))
    print(f"{len(images)} images, {model.device}, task {os.environ.get('HPCDEPLOY_TASK', 'on its own')}", flush=True)
    with Path("history.csv").open("w", newline="") as file:
        history = csv.writer(file)
        history.writerow(("epoch", "rate", "loss", "accuracy"))
        for epoch in range(given.epochs):
            loss = model.epoch(images, list(labels), given.rate)
            right = accuracy(model, test_images, list(test_labels))
            history.writerow((epoch, given.rate, f"{loss:.4f}", f"{right:.4f}"))
            print(f"epoch {epoch}: loss {loss:.4f}, accuracy {right:.4f}", flush=True)
    given.model.write_text(json.dumps({"pool": POOL, "accuracy": right, "weights": model.weights}))


if __name__ == "__main__":
    main()
