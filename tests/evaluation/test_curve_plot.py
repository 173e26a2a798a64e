"""What the picture of accuracy over noise shows, read from the figure itself."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from fastpose.evaluation.curve_plot import LABEL_HEIGHT, curve_title, plot_curves
from fastpose.evaluation.metrics import Accuracy
from fastpose.settings import ALPHA_GRID


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """Draw some curves, given as top-1 by run, and return the axes."""
    figures = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *args, **named: figures.append(self) or save(self, *args, **named)
    )

    def draw(tops, title="", chances=()):
        curves = {
            name: {alpha: Accuracy(top, 100, 50, 40) for alpha, top in curve.items()}
            for name, curve in tops.items()
        }
        plot_curves(tmp_path / "curves.png", curves, title, chances)
        assert (tmp_path / "curves.png").read_bytes()[:4] == b"\x89PNG"
        return figures[-1].axes[0]

    return draw


def labelled(axes):
    return {text.get_text() for text in axes.get_legend().get_texts()}


def test_seeds_are_a_mean_in_a_band(drawn):
    tops = {
        "supervised-s0": {0.0: 90.0, 0.1: 40.0},
        "supervised-s1": {0.0: 96.0, 0.1: 60.0},
        "small-size": {0.0: 80.0, 0.1: 70.0},  # no seed in its name
    }
    axes = drawn(tops, "a title", [25.0])
    assert labelled(axes) == {
        "supervised, mean of 2 seeds",
        "small-size",
        "band: lowest to highest seed",
        "always the largest class: 25.0 %",
    }
    mean, single, chance = axes.get_lines()
    assert mean.get_ydata().tolist() == [93, 50]
    assert single.get_ydata().tolist() == [80, 70]
    assert set(chance.get_ydata()) == {25}
    band = axes.collections[0].get_paths()[0].vertices
    assert {tuple(point) for point in band.tolist()} >= {(0, 90), (0, 96), (0.1, 40), (0.1, 60)}
    assert axes.get_title() == "a title"


def test_seeds_of_other_levels_are_drawn_apart(drawn):
    axes = drawn({"a-s0": {0.0: 90.0}, "a-s1": {0.0: 80.0, 0.1: 70.0}})
    assert labelled(axes) == {"a-s0", "a-s1"}


def test_small_levels_lie_apart(drawn):
    axes = drawn({"a-s0": dict.fromkeys(ALPHA_GRID, 50.0)})
    places = axes.transAxes.inverted().transform(
        axes.transData.transform([(alpha, 50) for alpha in ALPHA_GRID])
    )[:, 0]
    assert 0 < places[0] < places[-1] < 1
    assert np.diff(places).min() > LABEL_HEIGHT
    assert places[1] - places[0] > 0.15  # where it would be 0.01 on a linear scale
    assert [label.get_text() for label in axes.get_xticklabels()] == [f"{alpha:g}" for alpha in ALPHA_GRID]
    assert "logarithmic above 0.001" in axes.get_xlabel()


def test_labels_give_way_where_levels_crowd(drawn):
    levels = [i / 100 for i in range(101)]
    axes = drawn({"a-s0": dict.fromkeys(levels, 50.0)})
    shown = [label.get_text() for label in axes.get_xticklabels()]
    assert shown[0] == "0"
    assert 5 < sum(map(bool, shown)) < 41


@pytest.mark.parametrize("alphas", [(0.0,), (0.2,), (0.0, 0.2), (0.1, 0.2)])
def test_few_levels(drawn, alphas):
    axes = drawn({"a-s0": dict.fromkeys(alphas, 50.0)})
    assert [label.get_text() for label in axes.get_xticklabels()] == [f"{alpha:g}" for alpha in alphas]


def test_titles_name_clips_and_their_number():
    curve = {0.0: Accuracy(50, 100, 50, 8)}
    assert curve_title("penn", {"a": curve}) == "Top-1 accuracy over noise: penn (8 test clips)"
    other = {0.0: Accuracy(50, 100, 50, 6)}
    assert curve_title("", {"a": curve, "b": other}).endswith("clips (6 or 8 test clips)")


def test_published_curves_are_dashed_in_the_colour_of_their_runs(monkeypatch, tmp_path):
    curves = {f"a-s{i}": {0.0: Accuracy(top, 100, 50, 40)} for i, top in enumerate((80.0, 90.0))}
    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda self, path, **named: figures.append(self))
    plot_curves(tmp_path / "x.png", curves, published={"b": {0.0: 9.0}, "a": {0.2: 7.0, 0.0: 70.0}})
    axes = figures[0].axes[0]
    mean, other, own = axes.get_lines()[:3]
    assert own.get_ydata().tolist() == [70, 7]
    assert own.get_color() == mean.get_color() != other.get_color()
    assert [line.get_linestyle() for line in (mean, other, own)] == ["-", "--", "--"]
    assert {text.get_text() for text in figures[0].legends[0].get_texts()} == {
        "a, mean of 2 seeds",
        "b, published",
        "dashed: published",
        "band: lowest to highest seed",
    }
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "0.2"]
