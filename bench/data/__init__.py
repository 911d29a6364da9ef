"""What data-set plugins share: base classes, verified downloads, file formats. No torch is imported by it."""

from bench.data.base import Binarised, Dataset, binarise, split
from bench.data.downloads import fetch
from bench.data.idx import read_idx

__all__ = ["Binarised", "Dataset", "binarise", "fetch", "read_idx", "split"]
