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
@pytest.mark.parametrize(
    "contract", ["options", "declarations", "splits", "digest", "prepare", "values", "fixed", "training"]
)
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


BITS = """
class Broken(Dequantised):
    version: ClassVar[str] = "1"

    def load(self, folder):
        return split(IMAGES[:80], IMAGES[80:])
"""


@pytest.mark.parametrize("unit", ["", '    unit: ClassVar[str] = "nats"\n'])
def test_a_change_of_variables_gives_bits(verdict: Judge, unit: str) -> None:
    found = verdict("dataset", "declarations", BITS + unit)
    assert found.status == "pass", found


@pytest.mark.parametrize(
    "source", [POINTS.replace('"nats"', '"bits/dim"'), IMAGES + '    unit: ClassVar[str] = "bits/dim"']
)
def test_bits_need_a_change_of_variables(verdict: Judge, source: str) -> None:
    sentence = (
        "its unit is 'bits/dim', and it has no change of variables from its pixels (log_jacobian and brightness);"
    )
    assert_fails(verdict("dataset", "declarations", source), sentence)


@pytest.mark.parametrize(
    ("contract", "said", "sentence"),
    [
        (
            "splits",
            "Items((3,), 81, 20)",
            "holds says 81 train, 0 validation and 20 test items of 3, and load gives 80",
        ),
        (
            "splits",
            "Items((1, 3), 80, 20)",
            "test items of 1x3, and load gives 80 train, 0 validation and 20 test items of",
        ),
        ("declarations", "(80, 20)", "Broken.holds gives a tuple; it must give bench.protocol.Items, or None"),
        ("declarations", "1 / 0", "Broken.holds fails: ZeroDivisionError"),
    ],
)
def test_a_data_set_holds_what_it_says(verdict: Judge, contract: str, said: str, sentence: str) -> None:
    source = POINTS + f"\n    def holds(self):\n        return {said}\n"
    assert_fails(verdict("dataset", contract, source), sentence)


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
        ("split(POINTS[:80], POINTS[80:81])", "80 items to train on and 1 to test on are too few; 2 of each will do"),
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


KEPT = POINTS.replace(
    "    def load", '    validation: int = Field(0, ge=0, le=9, description="so many points are kept")\n\n    def load'
).replace("split(POINTS[:80], POINTS[80:])", "split(POINTS[:80], POINTS[80:], self.validation)")


def test_an_option_for_a_validation_split_keeps_items_from_training(verdict: Judge) -> None:
    found = verdict("dataset", "validation", KEPT)
    assert (found.status, found.reason) == ("pass", "validation = 2 keeps 2 items from training, and leaves the others")


@pytest.mark.parametrize("source", [POINTS, KEPT.replace("ge=0", "ge=4").replace("Field(0", "Field(4")])
def test_a_data_set_need_not_have_a_validation_split(verdict: Judge, source: str) -> None:
    found = verdict("dataset", "validation", source)
    assert (found.status, found.reason) == ("not checked", "it has no option `validation` that may be 0 or 2")


@pytest.mark.parametrize(
    ("splits", "sentence"),
    [
        ("split(POINTS[:80], POINTS[80:])", "validation = 2 keeps 0 items from training"),
        (
            "split(POINTS[:80], POINTS[80 + self.validation :], self.validation)",
            "validation = 2 changes the test split",
        ),
        (
            "split(POINTS[:80], POINTS[80:][:: -1 if self.validation else 1], self.validation)",
            "validation = 2 changes the test split",
        ),
        (
            "split(np.concatenate([POINTS[:80], POINTS[: self.validation]]), POINTS[80:], self.validation)",
            "with validation = 2, both splits together are not what train holds with validation = 0",
        ),
        (
            "split(POINTS[self.validation : 80], POINTS[80:], self.validation)",
            "with validation = 2, both splits together are not what train holds with validation = 0",
        ),
    ],
)
def test_a_validation_split_is_made_of_training_items_alone(verdict: Judge, splits: str, sentence: str) -> None:
    source = KEPT.replace("split(POINTS[:80], POINTS[80:], self.validation)", splits)
    assert_fails(verdict("dataset", "validation", source), sentence)


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


UNIT = "IMAGES.astype(np.float32) / 255"  # brightness


@pytest.mark.parametrize(
    ("images", "sentence"),
    [
        (UNIT, "the pixels of train are 0 .. 1, and white = 255, by which they are divided; scale them to 0 .. 255"),
        (
            "(IMAGES > 127).astype(np.uint8)",
            "the pixels of train are 0 .. 1, and white = 255, by which they are divided",
        ),
        ("IMAGES.astype(np.float32) - 10", "the pixels of train are -10 .. 245, and white = 255; 0 .. 255 is allowed"),
        ("IMAGES.astype(np.float32) * 2", "the pixels of train are 0 .. 510, and white = 255; 0 .. 255 is allowed"),
        ("IMAGES * 0", "the numbers of train, prepared, are all 0: nothing can be learned"),
        ("IMAGES * 0 + 255", "the numbers of train, prepared, are all 1: nothing can be learned"),
        ("np.where(IMAGES < 255, IMAGES, np.nan).astype(np.float32)", "train holds numbers that are not finite"),
    ],
)
def test_brightness_is_a_share_of_white(verdict: Judge, images: str, sentence: str) -> None:
    source = "IMAGES[0, 0] = [0, 255]\n" + IMAGES.replace("IMAGES[", f"({images})[")
    assert_fails(verdict("dataset", "values", source), sentence)


def test_a_test_split_on_another_scale_is_refused(verdict: Judge) -> None:
    source = IMAGES.replace("split(IMAGES[:80], IMAGES[80:]", f"split(IMAGES[:80].astype(np.float32), ({UNIT})[80:]")
    assert_fails(verdict("dataset", "values", source), "the pixels of test are 0")


def test_an_image_brighter_than_white_is_refused(verdict: Judge) -> None:
    source = IMAGES + "    white: ClassVar[int] = 16\n"
    assert_fails(verdict("dataset", "values", source), "and white = 16; 0 .. 16 is allowed, or declare another white")


@pytest.mark.parametrize(
    ("images", "white"),
    [
        (UNIT, 1),  # floats that are brightness, and say so
        ("(IMAGES > 127).astype(np.uint8)", 1),  # black and white
        ("IMAGES // 8", 255),  # dark, though nothing is wrong with it
        ("np.pad(IMAGES // 8, ((0,), (9,), (9,)))", 255),  # darker still: 1 number in 2,000 is white
        ("np.pad(IMAGES // 255 * 250, ((0, 0), (30, 30), (30, 30)))", 255),  # few bright pixels in the night
        (
            "np.pad(255 * np.eye(4, dtype=np.uint8)[np.arange(100) % 4].reshape(100, 2, 2), ((0,), (40,), (40,)))",
            255,
        ),
    ],
)
def test_dark_images_are_images(verdict: Judge, images: str, white: int) -> None:
    source = f"IMAGES[:, 0] = [0, 255]\nOWN = {images}\n"
    source += IMAGES.replace("IMAGES[", "OWN[") + f"    white: ClassVar[int] = {white}\n"
    found = verdict("dataset", "values", source)
    assert found.status == "pass", found


def test_images_that_prepare_divides_again_are_almost_black(verdict: Judge) -> None:
    """Whatever the class: what counts is what is scored."""
    own = "\n    def prepare(self, x, noise):\n        return super().prepare(x.float() / 255, noise)\n"
    found = verdict("dataset", "values", "IMAGES = IMAGES.repeat(20, axis=1).repeat(20, axis=2)\n" + IMAGES + own)
    assert_fails(found, "the numbers of train, prepared, are almost all 0 (0.")


@pytest.mark.parametrize(
    ("points", "sentence"),
    [
        ("POINTS * 0 + 3", "the numbers of train, prepared, are all 3: nothing can be learned"),
        ("np.where(POINTS > 9, POINTS, np.inf)", "train holds numbers that are not finite"),
    ],
)
def test_points_are_not_all_equal(verdict: Judge, points: str, sentence: str) -> None:
    assert_fails(
        verdict("dataset", "values", POINTS.replace("POINTS[:80]", f"({points})[:80].astype(np.float32)")), sentence
    )


@pytest.mark.parametrize(
    ("images", "sentence"),
    [
        (UNIT, "the pixels of train are 0 .. 1, and white = 255, by which they are divided; scale them to 0 .. 255"),
        (
            "IMAGES.astype(np.float32) + 0.5",
            "the pixels of train are 0.5 .. 255.5, and white = 255; 0 .. 255 is allowed",
        ),
        (
            "IMAGES.astype(np.float32) * 0.7",
            "the pixels of train are no whole numbers, and dequantisation is of 0, 1, .. 255",
        ),
        ("IMAGES * 0 + 9", "the numbers of train, prepared, are all 9: nothing can be learned"),
    ],
)
def test_dequantised_pixels_are_whole_numbers_of_256(verdict: Judge, images: str, sentence: str) -> None:
    source = "IMAGES[0, 0] = [0, 255]\n" + BITS.replace("IMAGES[", f"({images})[")
    assert_fails(verdict("dataset", "values", source), sentence)


@pytest.mark.parametrize(
    ("source", "seen"),
    [
        (IMAGES, "prepared 0 .. 1 with mean 0."),
        (POINTS, "; 0 of 20 test items are in train"),
        (POINTS.replace("POINTS[80:]", "POINTS[70:90]"), "; 10 of 20 test items are in train"),
        (POINTS.replace("POINTS[", "POINTS.round().clip(0, 1)["), "; 20 of 20 test items are in train"),  # 8 points
        (BITS, ", brightness 0."),
        (POINTS, "stored -"),
    ],
)
def test_range_and_brightness_are_shown(verdict: Judge, source: str, seen: str) -> None:
    found = verdict("dataset", "values", source)
    assert found.status == "pass", found
    assert seen in found.reason


def test_test_items_are_no_training_items(verdict: Judge) -> None:
    source = POINTS.replace("POINTS[80:]", "POINTS[69:89]")
    sentence = "11 of 20 test items are in train, where 0 of 80 repeat; a test item may be no training item"
    assert_fails(verdict("dataset", "values", source), sentence)


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


def test_a_draw_of_numpy_is_seen_when_steps_are_replayed(verdict: Judge) -> None:
    source = """
class Broken(Dataset):
    version: ClassVar[str] = "1"
    likelihood: ClassVar[Any] = "gaussian"
    unit: ClassVar[Any] = "nats"
    capturable: ClassVar[bool] = True

    def load(self, folder):
        return split(POINTS[:80], POINTS[80:])

    def prepare(self, x, noise):
        return x + torch.from_numpy(np.random.normal(size=x.shape)).float()
"""
    assert_fails(verdict("dataset", "capture", source), "differs when steps are replayed")


def test_a_validation_split_that_cannot_be_loaded_is_a_breach(verdict: Judge) -> None:
    failing = "split(POINTS[:80], POINTS[80:], self.validation) if not self.validation else {}['gone']"
    source = KEPT.replace("split(POINTS[:80], POINTS[80:], self.validation)", failing)
    assert_fails(verdict("dataset", "validation", source), "gone")
