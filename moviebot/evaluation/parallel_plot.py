"""The plot of a sweep: one axis a hyperparameter, one line a trial, coloured by its metric."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeGuard

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator

from moviebot.artefact import write_whole

State = Literal["finished", "stopped early", "failed"]
STYLES: dict[State, str] = {"finished": "-", "stopped early": "--", "failed": ":"}
_BEST_COLOUR, _FAILED_COLOUR = "#D55E00", "#BBBBBB"
_WIDE = 10.0  # from this ratio of the worst to the best on, the metric's axis is logarithmic
_SPREAD = 0.012  # between the lines that meet at one choice, of the axis's height


@dataclass(frozen=True)
class PlotAxis:
    """A hyperparameter's axis.

    Attributes:
        name: as it is written below the axis.
        choices: its values, bottom to top, where they are a list; else None.
        log: whether numbers are on a logarithmic axis.
    """

    name: str
    choices: tuple[object, ...] | None = None
    log: bool = False


@dataclass(frozen=True)
class PlotTrial:
    """A trial's line.

    Attributes:
        name: of the trial, for the legend.
        values: the value on each axis, by the axis's name; one without is not drawn there.
        score: its metric; None or NaN where it has none.
        state: how it ended.
    """

    name: str
    values: Mapping[str, object]
    score: float | None
    state: State


def plot_parallel(
    axes: Sequence[PlotAxis], trials: Sequence[PlotTrial], metric: str, lower_is_better: bool, target: Path
) -> bool:
    """Plot a sweep in parallel coordinates.

    Args:
        axes: the hyperparameters, left to right; the metric comes last.
        trials: one line each. The best finished one is highlighted; one without a metric ends before its axis.
        metric: the metric's name.
        lower_is_better: whether the best trial has the lowest metric.
        target: the PNG file.

    Returns:
        False where there is no trial; nothing is written then.
    """
    if not trials:
        return False
    scores = [trial.score for trial in trials if _is_number(trial.score)]
    log = bool(scores) and min(scores) > 0 and max(scores) > _WIDE * min(scores)
    last = PlotAxis(f"{metric}\n({'lower' if lower_is_better else 'higher'} is better)", log=log)
    finished = [trial for trial in trials if trial.state == "finished" and _is_number(trial.score)]
    best = (min if lower_is_better else max)(finished, key=lambda trial: trial.score or 0.0, default=None)
    figure = Figure(figsize=(2.2 + 1.55 * len(axes), 4.8), layout="constrained")
    drawn = figure.add_subplot()
    places = [
        *(_draw_axis(drawn, x, axis, [trial.values.get(axis.name) for trial in trials]) for x, axis in enumerate(axes)),
        _draw_axis(drawn, len(axes), last, [trial.score for trial in trials]),
    ]
    norm = _scale_colours(scores, log)
    shades = np.linspace(0, 0.85, 256)  # the rest is too pale for lines on white
    colours = ListedColormap(colormaps["viridis"](shades if lower_is_better else shades[::-1]))  # the best are dark
    for number, trial in enumerate(trials):
        heights = np.array([place[number] for place in places])
        colour = colours(norm(trial.score)) if _is_number(trial.score) else _FAILED_COLOUR
        is_best = trial is best
        drawn.plot(
            range(len(places)), heights, STYLES[trial.state], color=_BEST_COLOUR if is_best else colour,
            linewidth=3 if is_best else 1.6, zorder=3 if is_best else 2, marker="o", markersize=4,
        )  # fmt: skip
    _finish(drawn, [*axes, last], {trial.state for trial in trials}, best)
    if scores:
        bar = figure.colorbar(ScalarMappable(norm, colours), ax=drawn, pad=0.02, fraction=0.04)
        bar.set_label(metric)
    FigureCanvasAgg(figure)
    with write_whole(target) as temporary:
        figure.savefig(temporary, format="png", dpi=140)
    return True


def _draw_axis(drawn: Axes, x: int, axis: PlotAxis, values: Sequence[object]) -> list[float]:
    """Draw one axis with its ticks; return each value's height on it, 0 to 1, NaN where it has none."""
    drawn.axvline(x, color="black", linewidth=0.8, zorder=1)
    if axis.choices is not None:
        steps = max(len(axis.choices) - 1, 1)
        places = {str(choice): number / steps for number, choice in enumerate(axis.choices)}
        for name, height in places.items():
            _write_tick(drawn, x, height, name)
        middle = (len(values) - 1) / 2
        return [places.get(str(value), math.nan) + (n - middle) * _SPREAD for n, value in enumerate(values)]
    numbers = [float(value) if _is_number(value) else math.nan for value in values]
    known = [_bend(number, axis.log) for number in numbers if not math.isnan(number)]
    if not known:
        return numbers
    low, high = min(known), max(known)
    if high == low:
        low, high = low - 0.5, high + 0.5
    ticks = LogLocator(subs=(1, 2, 5)) if axis.log else MaxNLocator(5)
    limits = (10**low, 10**high) if axis.log else (low, high)
    for tick in ticks.tick_values(*limits):
        if (axis.log and tick <= 0) or not -0.02 <= (height := (_bend(tick, axis.log) - low) / (high - low)) <= 1.02:
            continue
        _write_tick(drawn, x, height, f"{tick:.4g}")
    return [math.nan if math.isnan(n) else (_bend(n, axis.log) - low) / (high - low) for n in numbers]


def _bend(number: float, log: bool) -> float:
    return math.log10(number) if log else number


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _write_tick(drawn: Axes, x: float, height: float, text: str) -> None:
    drawn.plot([x - 0.02, x + 0.02], [height, height], color="black", linewidth=0.8, zorder=1)
    box = {"boxstyle": "round,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.75}
    drawn.text(x + 0.05, height, text, fontsize=8, va="center", zorder=4, bbox=box)


def _scale_colours(scores: Sequence[float], log: bool) -> Normalize:
    low, high = (min(scores), max(scores)) if scores else (0.0, 1.0)
    if low == high:
        low, high = low * 0.99, high * 1.01 or 1.0
    return LogNorm(low, high) if log else Normalize(low, high)


def _finish(drawn: Axes, axes: Sequence[PlotAxis], states: set[State], best: PlotTrial | None) -> None:
    drawn.set_xticks(range(len(axes)), [axis.name for axis in axes])
    drawn.set_yticks([])
    drawn.set_xlim(-0.2, len(axes) - 1 + 0.45)
    for side in ("left", "right", "top", "bottom"):
        drawn.spines[side].set_visible(False)
    drawn.tick_params(axis="x", length=0)
    handles = [
        Line2D([], [], linestyle=STYLES[state], color="grey", label=state) for state in STYLES if state in states
    ]
    if best is not None:
        label = f"the best: {best.name}, {best.score:.4g}"
        handles.insert(0, Line2D([], [], color=_BEST_COLOUR, linewidth=3, label=label))
    drawn.legend(handles=handles, loc="lower center", bbox_to_anchor=(0.5, 1.02), ncols=len(handles), frameon=False)
