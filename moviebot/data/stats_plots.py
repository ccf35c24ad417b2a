"""The plots of `moviebot stats`: one PNG a question, none where the set holds nothing to plot."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from moviebot.artefact import write_whole
from moviebot.data.prompts import clean_text
from moviebot.data.schemas import SPLITS

if TYPE_CHECKING:
    from moviebot.data.stats import Stats

# Okabe and Ito's colours, told apart by the colour-blind and in grey: blue, orange, green.
COLOURS = {"train": "#0072B2", "val": "#E69F00", "test": "#009E73"}
_LIMIT_COLOUR = "#D55E00"


def plot_stats(stats: "Stats", folder: Path, max_length: int) -> list[Path]:
    """Write the plots.

    Args:
        stats: what the set holds.
        folder: where the PNGs go.
        max_length: the length in tokens to mark.

    Returns:
        The files written.
    """
    wanted: list[tuple[str, bool, Callable[[Axes], None], float]] = [
        ("lengths.png", any(stats.lengths.values()), lambda axes: _plot_lengths(axes, stats, max_length), 3.6),
        ("topics.png", bool(stats.topics), lambda axes: _plot_topics(axes, stats), 1.4 + 0.35 * len(stats.topics)),
        ("lists.png", bool(stats.list_sizes), lambda axes: _plot_lists(axes, stats), 3.6),
        ("rejects.png", bool(stats.rejects), lambda axes: _plot_rejects(axes, stats), 1.4 + 0.35 * len(stats.rejects)),
    ]
    written = []
    for name, there, plot, height in wanted:
        if there:
            figure = Figure(figsize=(7, height), layout="constrained")
            plot(figure.add_subplot())
            FigureCanvasAgg(figure)
            with write_whole(folder / name) as temporary:
                figure.savefig(temporary, format="png", dpi=130)
            written.append(folder / name)
        else:
            (folder / name).unlink(missing_ok=True)  # of an earlier set: it would be taken for this one's
    return written


def _plot_lengths(axes: Axes, stats: "Stats", max_length: int) -> None:
    longest = max(max(lengths) for lengths in stats.lengths.values() if lengths)
    bins = list(range(0, longest + 26, 25))
    colours = {"qa": COLOURS["train"], "recommend": COLOURS["val"]}
    for task, lengths in stats.lengths.items():
        if lengths:
            weights = [100 / len(lengths)] * len(lengths)
            name = "questions" if task == "qa" else "recommendations"
            axes.hist(lengths, bins=bins, weights=weights, alpha=0.65, color=colours[task], label=name)
    if max_length <= 1.5 * longest:
        axes.axvline(max_length, color=_LIMIT_COLOUR, linestyle="--", label=f"the limit, {max_length}")
    axes.set(xlabel="length of prompt and answer (tokens)", ylabel="samples (% of their task)", xlim=(0, None))
    axes.set_title("How long the samples are")
    axes.grid(alpha=0.3)
    axes.legend()


def _plot_topics(axes: Axes, stats: "Stats") -> None:
    topics = list(stats.topics)[::-1]  # the first on top
    starts = [0] * len(topics)
    for split in SPLITS:
        counts = [stats.topics[topic].get(split, 0) for topic in topics]
        axes.barh(range(len(topics)), counts, left=starts, color=COLOURS[split], label=split)
        starts = [start + count for start, count in zip(starts, counts, strict=True)]
    axes.set_yticks(range(len(topics)), [_show(topic) for topic in topics])
    axes.set(xlabel="questions (number)")
    axes.set_title("What the questions ask for")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    axes.grid(alpha=0.3, axis="x")
    axes.legend()


def _plot_lists(axes: Axes, stats: "Stats") -> None:
    bins = [size - 0.5 for size in range(1, max(stats.list_sizes) + 2)]
    axes.hist(stats.list_sizes, bins=bins, color=COLOURS["train"], edgecolor="white")
    axes.set(xlabel="movies a list recommends (number)", ylabel="lists (number)")
    axes.set_title("How long the lists are")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3, axis="y")


def _plot_rejects(axes: Axes, stats: "Stats") -> None:
    found: Sequence[tuple[tuple[str, str], int]] = sorted(stats.rejects.items(), key=lambda item: item[1])
    bars = axes.barh(range(len(found)), [n for _, n in found], color=COLOURS["train"])
    axes.set_yticks(range(len(found)), [_show(f"{stage}: {reason}") for (stage, reason), _ in found])
    axes.bar_label(bars, padding=3, labels=[f"{n:,}" for _, n in found])
    axes.set(xlabel="things thrown away (number)")
    axes.set_title("What was thrown away, and why")
    axes.margins(x=0.12)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    axes.grid(alpha=0.3, axis="x")


def _show(label: str) -> str:
    """Return a label that comes from data as plain text: between dollar signs it would be read as a formula."""
    return clean_text(label, 60).replace("$", r"\$")
