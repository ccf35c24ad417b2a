"""The plots of a report."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from moviebot.artefact import METRICS_NAME, write_whole


def plot_losses(runs: Path, target: Path) -> bool:
    """Plot each run's training and validation loss by optimiser step.

    Args:
        runs: a folder of run folders, each with a ``metrics.jsonl``.
        target: the PNG file.

    Returns:
        False where no run has metrics; nothing is written then.
    """
    files = sorted(runs.glob(f"*/{METRICS_NAME}"))
    if not files:
        return False
    figure = Figure(figsize=(4.2 * len(files), 3.4), layout="constrained")
    for number, file in enumerate(files, start=1):
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        axes = figure.add_subplot(1, len(files), number)
        for key, style in (("train/loss", "-"), ("val/loss", "o--")):
            points = [(row["step"], row[key]) for row in rows if key in row]
            if points:
                axes.plot(*zip(*points, strict=True), style, label=key, markersize=4)
        axes.set_title(file.parent.name)
        axes.set_xlabel("optimiser step")
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend()
    _save(figure, target)
    return True


def plot_hits(curves: Mapping[str, Sequence[float]], target: Path) -> None:
    """Plot hit@k of several rankings over k.

    Args:
        curves: a ranking's name -> hit@1, hit@2, ...
        target: the PNG file.
    """
    figure = Figure(figsize=(5, 3.6), layout="constrained")
    axes = figure.add_subplot()
    for name, values in curves.items():
        axes.plot(range(1, len(values) + 1), values, label=name)
    axes.set_xlabel("k, movies recommended")
    axes.set_ylabel("hit@k: one of the list is among them")
    axes.set_ylim(0, 1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend()
    _save(figure, target)


def _save(figure: Figure, target: Path) -> None:
    FigureCanvasAgg(figure)
    with write_whole(target) as temporary:
        figure.savefig(temporary, format="png", dpi=130)
