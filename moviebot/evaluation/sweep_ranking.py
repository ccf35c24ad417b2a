"""Which trials of a sweep were the best: a table, a file and a plot."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState
from rich.console import Console
from rich.table import Table

from moviebot.artefact import write_whole
from moviebot.evaluation.parallel_plot import PlotAxis, PlotTrial, State, plot_parallel

EXIT_CODE = "exit_code"  # of a trial that ended: one marked as failed that has none was interrupted
STATES: dict[TrialState, State] = {
    TrialState.COMPLETE: "finished",
    TrialState.PRUNED: "stopped early",
    TrialState.FAIL: "failed",
}


def list_ended(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """Return the trials that have ended; those that were interrupted are left out.

    Args:
        study: the sweep's.
    """
    return [trial for trial in study.trials if trial.state in STATES and EXIT_CODE in trial.user_attrs]


def report_ranking(study: optuna.Study, config: Mapping[str, Any], out: Path, console: Console) -> bool:
    """Print the ranking, write it to ``ranking.json``, and plot it to ``parallel.png``.

    The finished trials come first, the best before the others; then those that were stopped early, by the last value
    they had; then those that failed.

    Args:
        study: the sweep's.
        config: the sweep file.
        out: the folder to write to.
        console: where to print.

    Returns:
        Whether any trial finished.
    """
    metric = config["metric"]["name"]
    rows = rank(study, metric)
    with write_whole(out / "ranking.json") as temporary:
        temporary.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    names = list(dict.fromkeys(name for row in rows for name in row))
    console.print(f"The ranking of {out}", highlight=False)
    table = Table(*(_shorten(name) for name in names))
    for row in rows:
        table.add_row(*(_write_cell(row.get(name)) for name in names))
    console.print(table)
    failed = [row["trial"] for row in rows if row["state"] == "failed"]
    if failed:
        logs = ", ".join(str(out / name / "log.txt") for name in failed)
        console.print(f"{len(failed)} trial(s) failed: see {logs}")
    spaces = {name: space for name, space in config["parameters"].items() if "value" not in space}
    axes = [
        PlotAxis(
            _shorten(name), tuple(space["values"]) if "values" in space else None,
            log=str(space.get("distribution", "")).startswith("log_"),
        )
        for name, space in spaces.items()
    ]  # fmt: skip
    lines = [
        PlotTrial(row["trial"], {_shorten(name): row.get(name) for name in spaces}, row[metric], row["state"])
        for row in rows
    ]
    plot_parallel(axes, lines, metric, study.direction == optuna.study.StudyDirection.MINIMIZE, out / "parallel.png")
    return any(row["state"] == "finished" for row in rows)


def rank(study: optuna.Study, metric: str) -> list[dict[str, Any]]:
    """Return one row a trial, best first: name, state, metric, how often it was logged, seconds, hyperparameters.

    Args:
        study: the sweep's.
        metric: the metric's name, which the rows call it by.
    """
    sign = -1 if study.direction == optuna.study.StudyDirection.MAXIMIZE else 1
    order = list(STATES)
    rows = []
    for trial in list_ended(study):
        value = trial.value if trial.state == TrialState.COMPLETE else None
        if trial.state == TrialState.PRUNED:
            value = trial.intermediate_values[trial.last_step]
        known = value if value is not None and math.isfinite(value) else None  # JSON has no NaN
        row = {
            "trial": f"trial_{trial.number:03d}", "state": STATES[trial.state], metric: known,
            "validations": len(trial.intermediate_values),
            "seconds": round(trial.duration.total_seconds(), 1) if trial.duration else None, **trial.params,
        }  # fmt: skip
        rows.append((order.index(trial.state), known is None, sign * (known or 0.0), row))
    return [row for *_, row in sorted(rows, key=lambda entry: entry[:3])]


def _shorten(name: str) -> str:
    return name.removeprefix("model.init_args.").removeprefix("lora.")


def _write_cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
