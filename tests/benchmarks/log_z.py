"""What log Z costs, in seconds of one core: `make benchmark`.

Times are of the processor, not of the clock, and compared with each other where they can be: other work on the machine
slows both alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from bench.energies import GRBM
from bench.energies.densities import annealing
from bench.estimators import ais, partition
from bench.objectives import exact as exact_score_matching
from bench.protocol import Ais
from bench.streams import stream
from tests.oracles.grbms import EIGHT_OF_64_16, FOUR_OF_16, blocks
from tests.oracles.verdicts import noises

CHAINS = 200


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> None:
    torch.set_num_threads(1)  # idle threads that wait for each other count as processor time


def least(run: Callable[[], object], times: int = 5) -> float:
    """Return the seconds of the quickest of several runs."""
    seconds = []
    for _ in range(times):
        start = time.process_time()
        run()
        seconds.append(time.process_time() - start)
    return min(seconds)


def trained(visible: int, hidden: int, steps: int = 400) -> tuple[GRBM, Tensor]:
    """Return a GRBM trained by score matching on a mixture of ten normal distributions, and the data."""
    noise = stream(0, "mixture")
    z = 0.7 * noise.normal(10, visible)[noise.integers(10, 5000)] + 0.7 * noise.normal(5000, visible)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        grbm = GRBM(visible, hidden)
    optimiser = torch.optim.Adam(grbm.parameters(), lr=1e-2)
    for _ in range(steps):
        loss = exact_score_matching(grbm, z[noise.integers(5000, 256)])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return grbm.requires_grad_(False), z


def test_log_z_of_a_trained_64_x_64_model_to_a_twentieth_of_a_nat_in_ten_seconds() -> None:
    grbm, z = trained(64, 64)
    found: list[ais.LogZ] = []
    seconds = least(lambda: found.append(partition.anneal(grbm, z, Ais(), noises(len(found)))), times=3)
    for each in found:
        print(f"width {each.width:.3f}, rounds {each.arrays['ais_rounds'].tolist()}, unreliable: {each.unreliable!r}")
        assert each.width <= 0.05
        assert not each.unreliable
    print(f"{seconds:.1f} s")
    assert seconds < 10


def test_a_base_with_a_full_covariance_costs_at_most_1_3_of_a_diagonal_one() -> None:
    model = blocks(FOUR_OF_16, seed=0, scale=0.3).grbm.whitened()
    variance = 1 + stream(0, "variance").uniform(64).double()
    mean = torch.zeros(64).double()

    def diagonal() -> None:
        base = annealing.Base(torch.eye(64).double(), mean, 1 / variance, model.coupling, model.offset, model.log_scale)
        ais.forward(base, 300, CHAINS, stream(0, "forward"))

    def full() -> None:
        axes = torch.linalg.qr(stream(0, "axes").normal(64, 64).double()).Q
        base = annealing.Base.of(model, mean, axes @ torch.diag(variance) @ axes.T)
        ais.forward(base, 300, CHAINS, stream(0, "forward"))

    pairs = [(least(full, 1), least(diagonal, 1)) for _ in range(7)]
    ratio = min(one for one, _ in pairs) / min(other for _, other in pairs)
    print(f"full over diagonal: {ratio:.2f}")
    assert ratio < 1.3


@pytest.mark.parametrize("shapes", [FOUR_OF_16, EIGHT_OF_64_16])
def test_a_temperature_costs_a_few_times_its_two_matrix_products(shapes: list[tuple[int, int]]) -> None:
    base = annealing.Base.uniform_hidden(blocks(shapes, seed=0, scale=0.1).grbm.whitened())
    base = replace(base, coupling=base.coupling.contiguous())
    u = stream(0, "u").normal(CHAINS, base.coupling.shape[0]).double()
    h = torch.ones(CHAINS, base.coupling.shape[1]).double()

    def products() -> None:
        for _ in range(100):
            u @ base.coupling
            h @ base.coupling.T

    temperature = least(lambda: ais.forward(base, 100, CHAINS, stream(0, "forward"))) / 100
    bare = least(products) / 100
    d, H = base.coupling.shape
    print(f"{d} x {H}, {CHAINS} chains: {1e3 * temperature:.2f} ms a temperature, {temperature / bare:.1f} of bare")
    assert temperature < 8 * bare
