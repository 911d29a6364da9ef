"""Charts say what tables say, in marks that can be told apart without colour, and no outlier flattens them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_rgba
from matplotlib.markers import CARETDOWN, CARETUP

import bench.words
from bench.protocol import Metric, Score
from bench.report import Records, published, sources
from bench.report.curves import Curves
from bench.report.figures import canvas, comparisons, drawings, estimates, training
from bench.report.figures.canvas import Drawing
from bench.report.outputs import of_grid
from bench.report.rows import Row
from bench.report.tables import Table, build
from bench.report.verdicts import Kind, Verdict
from tests.report.conftest import items

if TYPE_CHECKING:
    from tests.report.conftest import Synthetic

SSM = "sliced-score-matching"


@pytest.fixture(autouse=True)
def style() -> Iterator[None]:
    with canvas.style():
        yield


def words(drawing: Drawing) -> list[str]:
    return [text.get_text() for axes in drawing.figure.axes for text in axes.texts]


def scored(store: Synthetic, label: str, *values: float, **fields: object) -> None:
    for seed, value in enumerate(values):
        store.put(label, seed, value, arrays={"vlb": items(value, 1.0), "nll": items(value - 3, 1.0)}, **fields)  # type: ignore[arg-type]


def by_vlb(mnist: Synthetic) -> Table:
    """The table, compared by the bound."""
    source = sources.of_grid(Records(mnist.grid, [], mnist.registry))
    return build("mnist", source, published.read(), metric="vlb")


def compared(mnist: Synthetic) -> Table:
    """A table with a baseline, a better row, and one far from both."""
    scored(mnist, "normal", 95.0, 95.1, 94.9)
    scored(mnist, SSM, 93.0, 93.1, 92.9)
    scored(mnist, "vampprior[components=16]", 195.0, 195.1, 194.9)
    scored(mnist, "vampprior[components=500]", 95.2, 95.1, 95.0)
    return by_vlb(mnist)


# ---------------------------------------------------------------- places and limits


def test_labels_keep_their_distance_and_their_order() -> None:
    wanted = [3.0, 1.0, 1.1, 1.05, 9.0]
    places = canvas.apart(wanted, [0.5] * 5, 0.0, 10.0)
    ordered = np.sort(places)
    assert np.argsort(places).tolist() == np.argsort(wanted).tolist()
    assert np.diff(ordered).min() >= 0.5 - 1e-9
    assert places[0] == 3.0
    assert places[4] == 9.0
    assert np.mean(places[1:4]) == pytest.approx(np.mean(wanted[1:4])), "those that touch stay where they were"


def test_labels_stay_on_the_axis_however_many_there_are() -> None:
    places = canvas.apart([5.0] * 40, [1.0] * 40, 0.0, 10.0)
    assert min(places) >= -1e-9
    assert max(places) <= 10 + 1e-9
    assert np.diff(np.sort(places)).min() == pytest.approx(10 / 39)


def test_high_labels_are_as_far_apart_as_their_halves() -> None:
    places = canvas.apart([5.0, 5.1, 5.2], [3.0, 1.0, 1.0], 0.0, 10.0)
    np.testing.assert_allclose(np.diff(places), [2.0, 1.0])
    assert canvas.apart([], [], 0.0, 10.0) == []


def test_an_axis_leaves_out_what_is_far_from_the_others() -> None:
    low, high = canvas.reach([-0.2, -0.1, 0.0, 30.0], [0.0, 0.1, 0.2, 40.0])
    assert -0.3 < low < -0.2
    assert 0.2 < high < 0.3


def test_an_axis_shows_everything_where_nothing_is_far() -> None:
    low, high = canvas.reach([1.0, 5.0], [2.0, 6.0])
    assert low < 1
    assert high > 6


def test_verdicts_differ_in_more_than_colour() -> None:
    looks = []
    kinds: tuple[Kind, ...] = ("baseline", "better", "worse", "same", "undecided")
    for kind in kinds:
        row = Row("x", verdict=Verdict(kind, kind))
        looks.append(canvas.look(row))
    assert len({look.marker for look in looks}) == 5


def test_a_label_breaks_before_its_bracket_and_is_never_cut() -> None:
    assert canvas.broken("normal", 20) == "normal"
    assert canvas.broken("sliced-score-matching[variant=exact]", 24) == "sliced-score-matching\n[variant=exact]"
    assert canvas.broken("a-very-long-name", 7) == "a-very-\nlong-\nname"
    assert canvas.broken("abcdefghij", 4) == "abcd\nefgh\nij"
    assert canvas.broken("ssm[lr=0.1,train.schedule.kind=step,train.clip=1000000]", 20) == (
        "ssm\n[lr=0.1,\ntrain.schedule.kind=\nstep,\ntrain.clip=1000000]"
    )


@pytest.mark.parametrize("width", [1, 4, 17, 34])
def test_lines_of_a_label_lose_nothing_but_blanks_and_none_is_empty_or_too_long(width: int) -> None:
    noise = np.random.default_rng(width)
    labels = ["".join(noise.choice(list("ab-=., []1"), noise.integers(1, 80))) for _ in range(500)]
    labels += ["x" * 34 + ", " + "y" * 34, "abcdefgh ijkl", " leading"]
    for label in labels:
        lines = bench.words.lines(label, width)
        assert "".join(lines).replace(" ", "") == label.replace(" ", "")
        if len(label) > width:
            assert all(0 < len(line) <= width for line in lines)


# ---------------------------------------------------------------- differences and cost


def test_a_forest_plot_has_the_figures_of_the_table(mnist: Synthetic) -> None:
    table = compared(mnist)
    drawing = comparisons.forest(table)
    assert drawing is not None
    row = next(row for row in table.rows if row.label.startswith(SSM))
    estimate = row.differences["vlb"]
    figures = " ".join(words(drawing)).replace("\N{MINUS SIGN}", "-")
    assert f"{estimate.mean:+.2f} [{estimate.lower:+.2f}, {estimate.upper:+.2f}]" in figures
    assert row.verdict is not None
    assert row.verdict.words in figures


def test_an_outlier_stands_at_the_edge_and_is_named(mnist: Synthetic) -> None:
    drawing = comparisons.forest(compared(mnist))
    assert drawing is not None
    (axes,) = drawing.figure.axes
    assert axes.get_xlim()[1] < 20
    assert any(line.get_marker() == ">" for line in axes.lines)
    assert "Beyond the axis, at the arrows: vampprior[components=16]." in drawing.caption
    assert any("+100.00" in text for text in words(drawing)), "its figure is written all the same"


def test_a_score_beyond_the_axis_of_cost_is_a_mark_within_it(mnist: Synthetic) -> None:
    drawing = comparisons.cost(compared(mnist))
    assert drawing is not None
    (axes,) = drawing.figure.axes
    (mark,) = [line for line in axes.lines if line.get_marker() in (CARETUP, CARETDOWN)]  # whose tip is its place
    assert axes.get_ylim()[0] <= float(np.asarray(mark.get_ydata())[0]) <= axes.get_ylim()[1]
    assert "Beyond the axis, at its edge: vampprior[components=16]." in drawing.caption


def test_an_interval_that_goes_on_beyond_the_axis_has_an_arrow(mnist: Synthetic) -> None:
    scored(mnist, "normal", 95.0, 95.1, 94.9)
    scored(mnist, SSM, 93.0, 93.1, 92.9)
    scored(mnist, "vampprior[components=500]", 95.2, 95.1, 95.0)
    scored(mnist, "vampprior[components=16]", 75.0, 95.1, 115.0)
    drawing = comparisons.forest(by_vlb(mnist))
    assert drawing is not None
    assert {"<", ">"} <= {line.get_marker() for line in drawing.figure.axes[0].lines}
    assert "Beyond the axis" not in drawing.caption, "its mean is on it"


def test_the_cost_figure_names_every_row(mnist: Synthetic) -> None:
    table = compared(mnist)
    drawing = comparisons.cost(table)
    assert drawing is not None
    said = " ".join(words(drawing))
    assert all(row.label in said for row in table.rows if row.scores)
    assert f"{comparisons.minutes(table.rows[0]).mean():.3f}" == "0.167", "ten seconds"


def test_times_of_several_devices_are_not_compared_in_silence(mnist: Synthetic) -> None:
    scored(mnist, "normal", 95.0, 95.1, 94.9, device="cuda:0", device_kind="NVIDIA A")
    scored(mnist, SSM, 93.0, 93.1, 92.9, device="cuda:0", device_kind="NVIDIA B")
    drawing = comparisons.cost(mnist.table())
    assert drawing is not None
    assert "Times are of different devices and cannot be compared: NVIDIA A, NVIDIA B." in drawing.caption


def test_the_front_is_what_no_other_beats() -> None:
    assert comparisons.pareto([(1, 5), (2, 3), (3, 4), (4, 1), (1, 6)]) == [0, 1, 3]


def test_a_table_without_scores_has_no_chart(mnist: Synthetic) -> None:
    mnist.put("normal", 0, status="diverged")
    assert comparisons.forest(mnist.table()) is None
    assert comparisons.cost(mnist.table()) is None


# ---------------------------------------------------------------- training


def points(metric: str, values: list[float]) -> list[dict[str, object]]:
    return [{"epoch": e, "step": 10 * e, "metric": metric, "value": v} for e, v in enumerate(values)]


FALLING = [100.0 - epoch for epoch in range(20)]


def test_a_course_has_the_bound_of_each_seed(mnist: Synthetic) -> None:
    mnist.put("normal", 0, 95.0, curves=points("bound", FALLING))
    mnist.put("normal", 1, 95.0, curves=points("bound", [value + 2 for value in FALLING[:10]]))
    course = training.course(mnist.row("normal"), Curves([mnist.folder]))
    assert course is not None
    assert course.values.shape == (2, 20)
    assert course.values[0].tolist() == FALLING
    assert np.isnan(course.values[1, 10:]).all()
    assert course.jumps == ()


def test_an_epoch_without_a_bound_is_a_gap_and_shifts_nothing(mnist: Synthetic) -> None:
    own = points("bound", FALLING)
    mnist.put("normal", 0, 95.0, curves=own)
    mnist.put("normal", 1, 95.0, curves=own[:5] + own[7:])
    course = training.course(mnist.row("normal"), Curves([mnist.folder]))
    assert course is not None
    assert course.epochs.tolist() == list(range(1, 21))
    assert np.isnan(course.values[1]).nonzero()[0].tolist() == [5, 6]
    assert course.values[1, 7:].tolist() == FALLING[7:]


def test_the_bound_of_an_earlier_record_gets_its_log_z(mnist: Synthetic) -> None:
    mnist.put(SSM, 0, 95.0, curves=points("bound", FALLING) + points("log_z", [7.0] * 20))
    course = training.course(mnist.row("sliced-score-matching"), Curves([mnist.folder]))
    assert course is not None
    assert course.values[0].tolist() == [value + 7 for value in FALLING]


def test_a_jump_is_marked_where_it_happened(mnist: Synthetic) -> None:
    jumping = [*FALLING[:12], 130.0, *FALLING[13:]]
    mnist.put("normal", 0, 95.0, curves=points("bound", jumping))
    course = training.course(mnist.row("normal"), Curves([mnist.folder]))
    assert course is not None
    assert course.jumps == ((13.0, 130.0),), "epochs count from 1"


def test_a_seed_that_diverged_ends_in_a_cross_and_is_counted(mnist: Synthetic) -> None:
    mnist.put("normal", 0, 95.0, curves=points("bound", FALLING))
    mnist.put("normal", 1, status="diverged", curves=points("bound", FALLING[:8]))
    drawing = training.curves(mnist.table(), Curves([mnist.folder]))
    assert drawing is not None
    (axes,) = drawing.figure.axes
    assert [line.get_xdata().tolist() for line in axes.lines if line.get_marker() == "x"] == [[8.0]]  # type: ignore[union-attr]
    assert "1 of 2 diverged" in words(drawing)
    assert "Cross: a seed diverged." in drawing.caption


def test_the_dashed_course_is_of_the_baseline_under_the_same_conditions(mnist: Synthetic) -> None:
    for label in ("normal", SSM, "vampprior[components=16]"):
        for seed in range(3):
            mnist.put(label, seed, 95.0, curves=points("bound with log Z", FALLING))
    table = by_vlb(mnist)
    other = next(row for row in table.rows if row.label.startswith("vampprior[components=16"))
    other.setting = replace(other.setting, budget='{"epochs":1}')
    drawing = training.curves(table, Curves([mnist.folder]))
    assert drawing is not None
    dashed = {axes.get_title(loc="left"): [line.get_linestyle() for line in axes.lines] for axes in drawing.figure.axes}
    assert {label for label, styles in dashed.items() if "--" in styles} == {"normal", "sliced-score-matching"}


def test_a_course_far_above_the_others_has_a_scale_of_its_own(mnist: Synthetic) -> None:
    for label, shift in (("normal", 0.0), (SSM, 1.0), ("vampprior[components=16]", 900.0)):
        mnist.put(label, 0, 95.0, curves=points("bound", [value + shift for value in FALLING]))
    drawing = training.curves(mnist.table(), Curves([mnist.folder]))
    assert drawing is not None
    assert "On a scale of their own, in orange: vampprior[components=16]." in drawing.caption
    tops = {axes.get_title(loc="left"): axes.get_ylim()[1] for axes in drawing.figure.axes}
    assert tops["normal"] < 150
    assert tops["vampprior[components=16]"] > 900


# ---------------------------------------------------------------- log Z


def test_an_interval_of_log_z_is_drawn_from_its_estimate(mnist: Synthetic) -> None:
    mnist.put(SSM, 0, 95.0, half=0.25)
    drawing = estimates.log_z(mnist.table())
    assert drawing is not None
    (axes,) = drawing.figure.axes
    (lines,) = axes.collections
    ((start, end),) = lines.get_segments()  # type: ignore[attr-defined]
    assert lines.get_colors()[0] == pytest.approx(to_rgba(canvas.BLUE))  # type: ignore[attr-defined]
    assert [start[0], end[0]] == pytest.approx([-0.25 - 1.96 * 0.01, 0.25 + 1.96 * 0.01])
    assert "log Z 58.00" in words(drawing)
    assert "annealed importance sampling" in drawing.caption


def test_a_prior_that_could_not_be_checked_is_not_drawn_as_checked(mnist: Synthetic) -> None:
    check = [Score(Metric("log_z_check", "nats", "neither"), value, 9, "importance-weighted", 0.01, 0, value, value)
             for value in (-0.02, -0.01, -35.0)]  # fmt: skip
    mnist.put("normal", 0, scores=check[:1], normalised={"verdict": "holds"})
    mnist.put("vampprior[components=16]", 0, scores=check[1:2], normalised={"verdict": "below"})
    mnist.put(SSM, 0, scores=check[2:], normalised={"verdict": "not checked"})
    drawing = estimates.log_z(mnist.table())
    assert drawing is not None
    assert {"normalised, checked", "the check missed mass"} <= {*words(drawing)}
    (axes,) = drawing.figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["normal", "vampprior[components=16]"]
    assert axes.get_xlim()[0] > -1
    assert f"could not be checked that the prior integrates to one: {SSM}." in drawing.caption


# ---------------------------------------------------------------- all of them


def test_no_caption_or_label_is_cut(mnist: Synthetic) -> None:
    scored(mnist, "normal", 95.0, 95.1, curves=points("bound", FALLING))
    scored(mnist, SSM, 93.0, 93.1, half=0.1, curves=points("bound with log Z", FALLING))
    scored(mnist, "vampprior[components=16]", 195.0, 195.1)
    source = sources.of_grid(Records(mnist.grid, [], mnist.registry))
    pairs = [(table, source) for table in of_grid(source, published.read())]
    drawn = list(drawings(pairs))
    assert len(drawn) >= 3
    for drawing in drawn:
        drawing.figure.draw_without_rendering()
        width, height = drawing.figure.bbox.size
        texts = [*drawing.figure.texts, *(text for axes in drawing.figure.axes for text in axes.texts)]
        texts += [label for axes in drawing.figure.axes for label in (axes.xaxis.label, axes.yaxis.label, axes.title)]
        said = "".join(text.get_text() for text in drawing.figure.texts)
        assert drawing.caption.replace(" ", "") in said.replace(" ", "")
        for text in filter(lambda text: text.get_text(), texts):
            box = text.get_window_extent()
            assert box.x0 >= -1, (drawing.stem, text.get_text())
            assert box.x1 <= width + 1, (drawing.stem, text.get_text())
            assert -1 <= box.y0 <= box.y1 <= height + 1, (drawing.stem, text.get_text())


def test_a_name_is_drawn_as_it_is(mnist: Synthetic) -> None:
    scored(mnist, "normal", 95.0, 95.1, 94.9)
    scored(mnist, SSM, 93.0, 93.1, 92.9)
    table = by_vlb(mnist)
    for row in table.rows:
        row.label = f"$\\frac{{{row.label}$ \N{SNOWMAN}\N{HANGUL SYLLABLE HAN}\x1b[31m"
    drawing = comparisons.forest(table)
    assert drawing is not None
    drawing.figure.draw_without_rendering()
    assert "\x1b" not in "".join(label.get_text() for label in drawing.figure.axes[0].get_yticklabels())


def test_the_users_own_style_is_left_alone(mnist: Synthetic) -> None:
    before = mpl.rcParams["font.size"]
    with mpl.rc_context({"font.size": 31.0}):
        with canvas.style():
            assert mpl.rcParams["font.size"] == canvas.TEXT
        assert mpl.rcParams["font.size"] == 31.0
    assert mpl.rcParams["font.size"] == before
