"""The plot of a sweep: every trial has its line, whatever became of it."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from moviebot.evaluation.parallel_plot import PlotAxis, PlotTrial, plot_parallel

AXES = [PlotAxis("r", (4, 8, 16)), PlotAxis("targets", ("all", "qv")), PlotAxis("lr", log=True), PlotAxis("dropout")]
GOOD = PlotTrial("trial_000", {"r": 4, "targets": "qv", "lr": 0.001, "dropout": 0.0}, 0.25, "finished")
WORSE = PlotTrial("trial_001", {"r": 16, "targets": "all", "lr": 0.0001, "dropout": 0.1}, 4.0, "finished")
STOPPED = PlotTrial("trial_002", {"r": 8, "targets": "all", "lr": 0.003, "dropout": 0.05}, 0.2, "stopped early")
FAILED = PlotTrial("trial_003", {"r": 8, "targets": "qv", "lr": 0.0005, "dropout": 0.1}, None, "failed")
NAN = PlotTrial("trial_004", {"r": 8, "targets": "qv"}, math.nan, "failed")


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are saved."""
    saved: list[Figure] = []
    save = Figure.savefig

    def keep(self: Figure, *args: Any, **more: Any) -> None:
        saved.append(self)
        save(self, *args, **more)

    monkeypatch.setattr(Figure, "savefig", keep)
    return saved


def test_shows_every_trial_and_the_best(figures: list[Figure], tmp_path: Path) -> None:
    target = tmp_path / "parallel.png"
    assert plot_parallel(AXES, [WORSE, GOOD, STOPPED, FAILED, NAN], "val/loss", True, target)
    assert imread(target).std() > 0.01
    drawn = figures[0].axes[0]
    lines = [line for line in drawn.lines if len(line.get_xdata()) == 5]  # type: ignore[arg-type]
    assert [line.get_linestyle() for line in lines] == ["-", "-", "--", ":", ":"]
    assert [line.get_linewidth() for line in lines] == [1.6, 3, 1.6, 1.6, 1.6]
    ends = [np.asarray(line.get_ydata())[-1] for line in lines]
    assert ends[:3] == pytest.approx([1, math.log(0.25 / 0.2) / math.log(20), 0])  # 20 times apart: a log axis
    assert all(math.isnan(end) for end in ends[3:])
    rates = [np.asarray(line.get_ydata())[2] for line in lines]
    assert rates[:3] == pytest.approx([0, math.log(10) / math.log(30), 1])
    legend = drawn.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == [
        "the best: trial_000, 0.25", "finished", "stopped early", "failed"
    ]  # fmt: skip
    shown = {text.get_text() for text in drawn.texts}
    assert {"4", "8", "16", "all", "qv", "0.0001", "0.001"} <= shown


def test_the_highest_is_the_best_where_it_is(figures: list[Figure], tmp_path: Path) -> None:
    assert plot_parallel(AXES, [WORSE, GOOD], "val/hit", False, tmp_path / "p.png")
    legend = figures[0].axes[0].get_legend()
    assert legend is not None
    assert legend.get_texts()[0].get_text() == "the best: trial_001, 4"


@pytest.mark.parametrize("trials", [[FAILED], [NAN], [GOOD], [STOPPED, FAILED]], ids=len)
def test_few_trials_are_plotted(trials: list[PlotTrial], tmp_path: Path) -> None:
    assert plot_parallel(AXES, trials, "val/loss", True, tmp_path / "p.png")
    assert imread(tmp_path / "p.png").std() > 0.01


def test_nothing_is_written_where_there_is_no_trial(tmp_path: Path) -> None:
    assert not plot_parallel(AXES, [], "val/loss", True, tmp_path / "p.png")
    assert list(tmp_path.iterdir()) == []
