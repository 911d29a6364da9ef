"""A data set whose `prepare` mixes items, or belies its change of variables, is told so in one sentence."""

from __future__ import annotations

import pytest
import torch

from bench.contracts import preparation
from bench.contracts.task import Shades
from tests.contracts.test_breaches_of_datasets import BITS, IMAGES, POINTS, Judge, assert_fails

MIXING = "what prepare gives for an item depends on the items beside it, as with statistics of the batch"


@pytest.mark.parametrize(
    "prepared",
    [
        "x - x.mean(0)",
        "(x - x.mean()) / (x.std() + 1e-6)",
        "x / x.abs().max()",
        "x[noise.integers(len(x), len(x))]",
        "x + x.roll(1, 0)",
    ],
)
def test_an_item_is_prepared_on_its_own(verdict: Judge, prepared: str) -> None:
    assert_fails(verdict("dataset", "prepare", POINTS.replace("return x", f"return {prepared}")), MIXING)


@pytest.mark.parametrize(
    "prepared",
    [
        "x + noise.normal(*x.shape) * noise.uniform(len(x), 1)",
        "x * noise.rademacher(len(x), 1) + noise.integers(3, *x.shape)",
        "(x - x.mean(1, keepdim=True)) @ torch.ones(3, 3).tril()",  # statistics of an item are its own
    ],
)
def test_noise_mixes_no_items(verdict: Judge, prepared: str) -> None:
    found = verdict("dataset", "prepare", POINTS.replace("return x", f"return {prepared}"))
    assert (found.status, found.reason) == ("pass", "(64, 3) float32 from 64 items")


def own(prepared: str, more: str = "") -> str:
    """Return dequantised images that are prepared in another way."""
    prepare = "\n    def prepare(self, x, noise):\n        y = super().prepare(x, noise)\n"
    return f"{BITS}{prepare}        return {prepared}\n{more}"


HALVED = "\n    def log_jacobian(self, x):\n        return super().log_jacobian(2 * x) - x.shape[1] * math.log(2)\n"


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (own("0.1 * y"), "log_jacobian gives "),
        (own("y + 0.5 * y.roll(1, 1)"), "nats for an item, and by derivatives of prepare it is "),
        (own("0 * y + x.flatten(1)"), "by derivatives of prepare it is -inf"),
        (
            own("y", "\n    def log_jacobian(self, x):\n        return super().log_jacobian(x).sum()\n"),
            "gives () for one",
        ),
    ],
)
def test_a_change_of_variables_is_that_of_prepare(verdict: Judge, source: str, sentence: str) -> None:
    assert_fails(verdict("dataset", "prepare", source), sentence)


@pytest.mark.parametrize(
    ("source", "seen"),
    [
        (BITS, "; log_jacobian is that of prepare"),
        ("import math\n" + own("0.5 * y", HALVED), "; log_jacobian is that of prepare"),
        (own("y.flip(1)"), "; log_jacobian is that of prepare"),  # of which the determinant is 1
        (
            BITS
            + "\n    def prepare(self, x, noise):\n        return x.flatten(1) + noise.normal(*x.flatten(1).shape)",
            "; log_jacobian is not looked at, for prepare draws no uniform number a pixel",
        ),
        (IMAGES, "(64, 4) float32 from 64 items"),
    ],
)
def test_a_right_one_is_seen(verdict: Judge, source: str, seen: str) -> None:
    found = verdict("dataset", "prepare", source)
    assert found.status == "pass", found
    assert found.reason.endswith(seen)


@pytest.mark.parametrize(
    ("shape", "seen"),
    [((1, 64, 65), "is not looked at, for an item has more than 4,096 numbers"), ((3, 20, 20), "is that of prepare")],
)
def test_an_item_may_be_large(shape: tuple[int, ...], seen: str) -> None:
    images = torch.arange(256, dtype=torch.uint8).repeat(20)[: shape[0] * shape[1] * shape[2]].reshape(1, *shape)
    assert preparation.check_jacobian(Shades(), images) == f"; log_jacobian {seen}"
