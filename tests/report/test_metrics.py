"""What the report knows of metrics, beside what a record may say of them."""

from __future__ import annotations

from bench.report.metrics import BITS, MEANINGS, NATS, headline
from bench.sweep.scores import OURS


def test_a_metric_corrects_one_of_its_own_unit() -> None:
    corrected = {name: meaning.corrects for name, meaning in MEANINGS.items() if meaning.corrects}
    assert corrected == {NATS[2]: NATS[1], BITS[2]: BITS[1]}
    assert all(OURS[name] == OURS[other] for name, other in corrected.items())
    assert all(MEANINGS[name].items and MEANINGS[other].items for name, other in corrected.items())


def test_models_are_compared_by_the_nearest_to_a_likelihood_in_either_unit() -> None:
    for bound, weighted, annealed in (NATS, BITS):
        assert headline([bound, weighted, annealed]) == annealed
        assert headline([bound, weighted]) == weighted
        assert headline(["kl_data", bound, weighted, annealed]) == "kl_data"
        assert headline(["sliced_wasserstein", weighted]) == weighted
