"""MNIST, from its original files."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from bench.data import Binarised, fetch, read_idx, split
from bench.protocol import Items, Splits

MIRRORS = ("https://ossci-datasets.s3.amazonaws.com/mnist", "https://storage.googleapis.com/cvdf-datasets/mnist")
TRAIN = "train-images-idx3-ubyte.gz"
TEST = "t10k-images-idx3-ubyte.gz"
FILES = {
    TRAIN: "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    TEST: "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
}
UNPACKED = {
    TRAIN: "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    TEST: "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
}
PLACES = ("MNIST/raw",)  # torchvision's


class Mnist(Binarised):
    """28x28 handwritten digits (LeCun et al., 1998), binarised dynamically: 60,000 train, 10,000 test.

    x = Bernoulli(pixel / 255), drawn anew in every batch; the test images are binarised once and for all. Of the
    original files the two with images are used (11.6 MB).
    """

    version: ClassVar[str] = "1"
    capturable: ClassVar[bool] = True

    validation: int = Field(0, ge=0, le=50_000, description="so many images, the last, are kept from training")

    def holds(self) -> Items:
        """Return how many images there are."""
        return Items((28, 28), 60_000 - self.validation, 10_000, self.validation)

    def load(self, folder: Path) -> Splits:
        """Return uint8 images `(N, 28, 28)`."""
        train, test = fetch(folder, FILES, MIRRORS, UNPACKED, PLACES)
        return split(read_idx(train, (60_000, 28, 28)), read_idx(test, (10_000, 28, 28)), self.validation)
