"""Every data set in the plane: what is drawn has the density that it says."""

from __future__ import annotations

import functools
import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from bench.data.points import legendre
from bench.estimators.quadrature import MAX_DIMENSION
from bench.networks.mlp import Mlp
from bench.plugins import Registry, build
from bench.protocol import MOST_LATENTS, Networks, Splits, UserError

NOWHERE = Path("/nowhere")  # points are drawn, not read
POTENTIALS = [f"potential-{number}" for number in (1, 2, 3, 4)]
NAMES = ["2-spirals", "8-gaussians", "checkerboard", *POTENTIALS]
EDGES = np.linspace(-5, 5, 21)  # the edges of every field of the board and of the potentials' square among them
EACH = 8  # quadrature nodes of an axis of a cell


def dataset(name: str, **options: Any) -> Any:
    return build(Registry().find("dataset", name), options, "test")


@functools.cache
def splits(name: str) -> Splits:
    loaded: Splits = dataset(name).load(NOWHERE)
    return loaded


@functools.cache
def masses(name: str) -> np.ndarray:
    """Return the probability of each of the 20 x 20 cells, from the density alone."""
    axes = [legendre(EACH, low, high) for low, high in itertools.pairwise(EDGES)]
    nodes, weights = torch.cat([axis[0] for axis in axes]), torch.cat([axis[1] for axis in axes])
    density = dataset(name).log_density(torch.cartesian_prod(nodes, nodes)).exp().reshape(len(nodes), -1)
    cells = (weights[:, None] * density * weights).reshape(20, EACH, 20, EACH).sum((1, 3))
    return np.asarray(cells)


@pytest.mark.parametrize("name", NAMES)
def test_a_density_integrates_to_one(name: str) -> None:
    # 8 nodes for each half unit: 1e-6 is the error of the spirals, whose noise is the narrowest
    assert masses(name).sum() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize("name", NAMES)
def test_points_follow_the_density(name: str, part: str) -> None:
    points = getattr(splits(name), part)
    counts, _, _ = np.histogram2d(points[:, 0], points[:, 1], bins=(EDGES, EDGES))
    expected = len(points) * masses(name)
    rare = expected < 5  # Pearson's statistic is a chi-square where at least five are expected
    counts = np.append(counts[~rare], len(points) - counts[~rare].sum())
    expected = np.append(expected[~rare], len(points) - expected[~rare].sum())
    if expected[-1] < 5:
        counts, expected = counts[:-1], expected[:-1]
    statistic = ((counts - expected) ** 2 / expected).sum()
    assert statistic < stats.chi2.isf(1e-4, len(counts) - 1)  # 14 such tests: a false alarm in 700 seeds


@pytest.mark.parametrize("name", NAMES)
def test_there_are_40000_and_5000_points_all_of_positive_density(name: str) -> None:
    for part, n in (("train", 40_000), ("validation", 0), ("test", 5_000)):
        points = getattr(splits(name), part)
        assert points.shape == (n, 2)
        assert points.dtype == np.float32
        # the spirals' density is positive everywhere; the others end at edges, over which rounding could put a point
        some = points[::10] if name == "2-spirals" else points
        assert bool(dataset(name).log_density(torch.from_numpy(some)).isfinite().all())


@pytest.mark.parametrize("name", NAMES)
def test_training_and_test_points_differ(name: str) -> None:
    both = np.concatenate([splits(name).train, splits(name).test])
    assert len(np.unique(both, axis=0)) > len(both) - 10


DIGESTS = {
    "2-spirals": "a525cfa9be41c7f7bb2575515ee94e4bf440acb00e7a6c3c9e6973806af0cfd8",
    "8-gaussians": "18109a38b7dd5420cca9eacb8c45a280834d58309b6d33b937a21e6995adcdff",
    "checkerboard": "e06c55b66a5dc0da04aaffa7dafaaac28e5b2fc3cd79d32ca90b03af9911a874",
    "potential-1": "db276f822120c3b0bfd9f422dddee7c2bf7da803e99392d88d6b991cc0637a31",
    "potential-2": "b9e0167609921854704682cc90bdc9336a8bb07570c1df9dffe0e169ac911043",
    "potential-3": "ed78431f38c0b50aa6591df6eb5867cf4f201dd281ec8e6611ae5acfa4060ba0",
    "potential-4": "5fa8d5af5cbae32733a32dadc28ca7f914d84483065d008887f9a56ecc6eab29",
}


@pytest.mark.parametrize("name", NAMES)
def test_the_points_are_known(name: str) -> None:
    """Records carry this digest: it must not change while the version is 1."""
    assert dataset(name).version == "1"
    assert splits(name).sha256 == DIGESTS[name]


def test_points_are_scored_as_they_are() -> None:
    x = torch.from_numpy(splits("checkerboard").test)
    assert torch.equal(dataset("checkerboard").fixed(x), x)


def test_validation_is_kept_from_training() -> None:
    held_out = dataset("8-gaussians", validation=5000).load(NOWHERE)
    assert np.array_equal(np.concatenate([held_out.train, held_out.validation]), splits("8-gaussians").train)
    assert np.array_equal(held_out.test, splits("8-gaussians").test)


def test_a_validation_split_has_bounds() -> None:
    with pytest.raises(UserError, match=r"^test: dataset\.checkerboard\.validation = 20001 is not allowed; .*20000"):
        dataset("checkerboard", validation=20_001)


# ---------------------------------------------------------------- each density against what is known of it


def test_eight_gaussians_are_a_mixture() -> None:
    x = 3 * torch.randn(50, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    parts = []
    for mode in range(8):
        centre = [4 / 1.414 * math.cos(mode * math.pi / 4), 4 / 1.414 * math.sin(mode * math.pi / 4)]
        parts.append(stats.multivariate_normal.pdf(x.numpy(), centre, (0.5 / 1.414) ** 2))
    expected = torch.from_numpy(np.log(np.mean(parts, axis=0)))
    torch.testing.assert_close(dataset("8-gaussians").log_density(x), expected)


def test_the_board_has_eight_equal_fields_and_nothing_else() -> None:
    centres = torch.arange(-5, 6, 2, dtype=torch.float64)  # the outermost lie off the board
    density = dataset("checkerboard").log_density(torch.cartesian_prod(centres, centres)).exp().reshape(6, 6)
    assert density.sum().item() == pytest.approx(8 / 32)
    board = density[1:5, 1:5]
    assert torch.equal(board > 0, torch.eye(2).repeat(2, 2) > 0)
    assert not density[[0, -1]].any()
    assert not density[:, [0, -1]].any()


def test_the_spirals_density_is_a_mean_over_their_definition() -> None:
    """Of the noise's density around points of the arms, by Monte Carlo over t and u."""
    random = np.random.default_rng(0)
    x = splits("2-spirals").test[:20].astype(float)
    t = 3 * math.pi * np.sqrt(random.random(200_000))
    arm = np.stack([-t * np.cos(t), t * np.sin(t)], 1) / 3 + random.random((200_000, 2)) / 6
    density = dataset("2-spirals").log_density(torch.from_numpy(x)).exp().numpy()
    for point, value in zip(x, density, strict=True):
        draws = np.mean(
            [np.exp(-0.5 * ((point - s * arm) ** 2).sum(1) / 0.01) / (2 * math.pi * 0.01) for s in (1, -1)], 0
        )
        # 20 points: beyond 4.5 standard errors once in 7,000 runs
        assert abs(draws.mean() - value) < 4.5 * draws.std() / math.sqrt(len(draws))


def test_the_spirals_density_is_symmetric_and_finite_far_away() -> None:
    x = torch.tensor([[0.3, -1.2], [2.0, 0.5], [60.0, -80.0]])
    log_density = dataset("2-spirals").log_density(x)
    torch.testing.assert_close(log_density, dataset("2-spirals").log_density(-x))
    assert bool(log_density.isfinite().all())


def _wave(x: Tensor) -> Tensor:
    return torch.sin(2 * math.pi * x[:, 0] / 4)


def _second(x: Tensor) -> Tensor:
    return 3 * torch.exp(-0.5 * ((x[:, 0] - 1) / 0.6) ** 2)


def _third(x: Tensor) -> Tensor:
    return 3 * torch.sigmoid((x[:, 0] - 1) / 0.3)


def _bell(y: Tensor, width: float) -> Tensor:
    return torch.exp(-0.5 * (y / width) ** 2)


TABLE_1 = {  # exp(-U), as Rezende & Mohamed (2015) print it
    "potential-1": lambda x: _bell(x.norm(dim=1) - 2, 0.4) * (_bell(x[:, 0] - 2, 0.6) + _bell(x[:, 0] + 2, 0.6)),
    "potential-2": lambda x: _bell(x[:, 1] - _wave(x), 0.4),
    "potential-3": lambda x: _bell(x[:, 1] - _wave(x), 0.35) + _bell(x[:, 1] - _wave(x) + _second(x), 0.35),
    "potential-4": lambda x: _bell(x[:, 1] - _wave(x), 0.4) + _bell(x[:, 1] - _wave(x) + _third(x), 0.35),
}


@pytest.mark.parametrize("name", POTENTIALS)
def test_the_potentials_are_those_of_the_paper(name: str) -> None:
    x = torch.rand(2000, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 8 - 4
    weight = TABLE_1[name](x)
    assert bool((weight <= 2).all())  # what rejection relies on
    seen = weight > 1e-30
    torch.testing.assert_close(dataset(name).energy(x)[seen], -weight.log()[seen])


def test_the_second_potential_has_its_closed_form_s_normaliser() -> None:
    # its wave stays 3/.4 = 7.5 standard deviations inside the square: the rest is 6e-14
    exact = math.log(8 * 0.4 * math.sqrt(2 * math.pi))
    assert dataset("potential-2").log_normaliser() == pytest.approx(exact, abs=1e-10)


@pytest.mark.parametrize("name", POTENTIALS)
def test_a_potential_s_normaliser_does_not_depend_on_the_number_of_nodes(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    potential = dataset(name)
    coarse = potential.log_normaliser()
    monkeypatch.setattr("bench.data.points.NODES", 800)
    assert potential.log_normaliser() == pytest.approx(coarse, abs=1e-10)


@pytest.mark.parametrize("name", POTENTIALS)
def test_there_is_nothing_outside_of_a_potential_s_square(name: str) -> None:
    x = torch.tensor([[4.01, 0.0], [0.0, -4.01], [5.0, 5.0]])
    assert bool((dataset(name).log_density(x) == -math.inf).all())


@pytest.mark.parametrize("name", NAMES)
def test_more_latents_than_quadrature_can_do_are_refused(name: str) -> None:
    assert MOST_LATENTS == MAX_DIMENSION
    assert dataset(name).refuses(Networks(encoder=Mlp(), decoder=Mlp(), latent=2)) is None
    assert dataset(name).refuses(Networks(encoder=Mlp(), decoder=Mlp(), latent=3)) == (
        "networks.latent = 3 is too large for exact scoring; at most 2 is allowed"
    )
