"""Randomness is a function of (seed, name, step)."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from bench.streams import Stream, key, seed_globals, stream


def test_the_key_is_the_low_32_bits_of_sha_256() -> None:
    # printf '7/posterior/3' | sha256sum ends in these eight digits
    assert key(7, "posterior", 3) == 0x634D5978


def test_a_stream_starts_again_at_its_step() -> None:
    noise = Stream(0, "posterior")
    first = noise.at(5).normal(3)
    noise.at(6).normal(2)
    torch.testing.assert_close(noise.at(5).normal(3), first, rtol=0, atol=0)


@pytest.mark.parametrize(("seed", "name", "step"), [(1, "posterior", 0), (0, "prior", 0), (0, "posterior", 1)])
def test_another_seed_name_or_step_is_another_stream(seed: int, name: str, step: int) -> None:
    assert not torch.equal(stream(seed, name, step).normal(4), stream(0, "posterior", 0).normal(4))


def test_draws_are_what_they_say() -> None:
    noise, n = stream(0, "prior"), 40_000
    assert abs(float(noise.normal(n).mean())) < 4 / n**0.5
    assert abs(float(noise.uniform(n).mean()) - 0.5) < 4 * (1 / 12 / n) ** 0.5
    assert sorted(noise.rademacher(n).unique().tolist()) == [-1, 1]
    assert abs(float(noise.rademacher(n).mean())) < 4 / n**0.5
    assert sorted(noise.integers(3, n).unique().tolist()) == [0, 1, 2]
    assert sorted(noise.permutation(100).tolist()) == list(range(100))


def test_library_generators_resume_with_the_step() -> None:
    def draw() -> tuple[float, float, float]:
        seed_globals(0, "prior", 9)
        return float(torch.rand(())), float(np.random.rand()), random.random()  # noqa: NPY002

    assert draw() == draw()
