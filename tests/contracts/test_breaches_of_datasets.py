"""A data set that breaks one of its contracts is told so, in one sentence that says what is wrong."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bench.contracts import Verdict

Judge = Callable[..., Verdict]

POINTS = """
class Broken(Dataset):
    version: ClassVar[str] = "1"
    likelihood: ClassVar[str] = "gaussian"
    unit: ClassVar[str] = "nats"

    def load(self, folder):
        return split(POINTS[:80], POINTS[80:])

    def prepare(self, x, noise):
        return x
"""
IMAGES = """
class Broken(Binarised):
    version: ClassVar[str] = "1"

    def load(self, folder):
        return split(IMAGES[:80], IMAGES[80:], 10)
"""


def assert_fails(verdict: Verdict, sentence: str) -> None:
    assert (verdict.status, verdict.reason.count("\n")) == ("fail", 0), verdict
    assert sentence in verdict.reason


@pytest.mark.parametrize("source", [POINTS, IMAGES], ids=["points", "images"])
@pytest.mark.parametrize("contract", ["options", "declarations", "splits", "digest", "prepare", "fixed", "training"])
def test_a_right_one_keeps_them(verdict: Judge, source: str, contract: str) -> None:
    found = verdict("dataset", contract, source)
    assert found.status == "pass", found


@pytest.mark.parametrize(
    ("right", "wrong", "sentence"),
    [
        ('version: ClassVar[str] = "1"', "version: ClassVar[int] = 1", 'version is 1; it must be text, such as "1"'),
        ('= "gaussian"', '= "gauss"', "likelihood is 'gauss'; it must be one of bernoulli, gaussian, laplace"),
        ('= "nats"', '= "bits"', "unit is 'bits'; it must be one of nats, bits/dim"),
    ],
)  # fmt: skip
def test_version_likelihood_and_unit_are_known(verdict: Judge, right: str, wrong: str, sentence: str) -> None:
    assert_fails(verdict("dataset", "declarations", POINTS.replace(right, wrong)), sentence)


def test_networks_are_refused_in_words(verdict: Judge) -> None:
    source = POINTS + "\n    def refuses(self, networks):\n        return networks.latent > 1\n"
    sentence = "refuses gives True; it must give why networks cannot do these items, in words, or None"
    assert_fails(verdict("dataset", "declarations", source), sentence)


@pytest.mark.parametrize(
    ("splits", "sentence"),
    [
        ("split(POINTS[:80].astype(float), POINTS[80:])", "train holds float64; it must be uint8 (images) or float32"),
        ("split(POINTS[:80], IMAGES[80:])", "test has the shape (20, 2, 2); it must be (N, ...) with items like those"),
        ("split(POINTS[:80, 0], POINTS[80:, 0])", "train has the shape (80,); it must be (N, ...)"),
        ("split(POINTS[:80], POINTS[80:].astype(np.uint8))", "test holds uint8, and train float32"),
        ("split(POINTS[:80] / 0, POINTS[80:])", "train holds numbers that are not finite"),
        ("split(POINTS[:80], POINTS[80:81])", "80 items to train on and 1 to test on are too few; 1 and 2 will do"),
        ("Splits([1.0], POINTS[:0], POINTS[:2], '')", "train is a list, not a numpy array"),
        ("open(folder / 'gone')", "FileNotFoundError: [Errno 2] No such file or directory"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_splits_are_arrays_of_one_kind_of_item(verdict: Judge, splits: str, sentence: str) -> None:
    assert_fails(verdict("dataset", "splits", POINTS.replace("split(POINTS[:80], POINTS[80:])", splits)), sentence)


@pytest.mark.parametrize(
    ("splits", "sentence"),
    [
        ("Splits(POINTS[:80], POINTS[:0], POINTS[80:], 'abc')", "sha256 is not the digest of its arrays"),
        (
            "split(np.random.normal(size=(9, 3)).astype(np.float32), POINTS)",
            "its arrays differ from one process to the next; draw them from a generator with its own seed",
        ),
        (
            "split(POINTS[np.argsort([hash(str(i)) for i in range(80)])], POINTS[80:])",  # salted in every process
            "its arrays differ from one process to the next",
        ),
    ],
)
def test_a_digest_is_that_of_the_arrays_in_every_process(verdict: Judge, splits: str, sentence: str) -> None:
    assert_fails(verdict("dataset", "digest", POINTS.replace("split(POINTS[:80], POINTS[80:])", splits)), sentence)


@pytest.mark.parametrize(
    ("prepared", "sentence"),
    [
        ("x.double()", "prepare gives float64 (64, 3) for items of 3 numbers; it must give float32 (64, 3)"),
        ("x[:, :2]", "prepare gives float32 (64, 2) for items of 3 numbers; it must give float32 (64, 3)"),
        ("x.numpy()", "prepare gives ndarray for items of 3 numbers"),
        ("x / 0", "prepare gives numbers that are not finite"),
        (
            "x + torch.randn(x.shape)",
            "prepare gives other numbers when it is called again; draw from the noise",
        ),
        ("x.mul_(2)", "prepare writes into the items that it is given"),
        ("x.clamp_(-1, 1)", "prepare writes into the items that it is given"),
        ("x if len(x) > 1 else x[:0]", "prepare does not take a single item"),
    ],
)
def test_prepare_gives_what_the_likelihood_scores(verdict: Judge, prepared: str, sentence: str) -> None:
    source = POINTS.replace("return x", f"return {prepared}")
    assert_fails(verdict("dataset", "prepare", source), sentence)


def test_a_bernoulli_likelihood_scores_zeros_and_ones(verdict: Judge) -> None:
    source = IMAGES + "    def prepare(self, x, noise):\n        return x.flatten(1).float() / 255\n"
    assert_fails(verdict("dataset", "prepare", source), "prepare gives numbers other than 0 and 1, which a Bernoulli")


@pytest.mark.parametrize(
    ("fixed", "sentence"),
    [
        (
            "x + torch.randn(x.shape)",
            "fixed gives other numbers when it is called again; draw from noise with",
        ),
        ("x.clamp_(-1, 1)", "fixed writes into the items that it is given"),
    ],
)
def test_fixed_depends_on_no_seed(verdict: Judge, fixed: str, sentence: str) -> None:
    source = POINTS + f"    def fixed(self, x):\n        return {fixed}\n"
    assert_fails(verdict("dataset", "fixed", source), sentence)


def test_a_likelihood_that_nothing_decodes_cannot_be_trained_on(verdict: Judge) -> None:
    assert_fails(verdict("dataset", "training", POINTS.replace('= "gaussian"', '= "poisson"')), "KeyError: 'poisson'")


def test_options_are_described(verdict: Judge) -> None:
    source = POINTS.replace("    def load", "    size: int = Field(1, ge=1)\n\n    def load")
    assert_fails(verdict("dataset", "options", source), "size has no description")
