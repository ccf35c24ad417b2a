"""Run a W&B sweep file without W&B's server: Optuna samples, each trial is the command line W&B's agent would run.

    python tools/sweep.py configs/sweeps/lora.yaml --trials 8 --out runs/sweeps/lora

Each trial is logged as an offline W&B run of one group (``wandb sync`` sends them later) and has a folder of its own.
An interrupted sweep goes on where it was: run the same command again. At the end the ranking is printed and written to
``ranking.json``.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna
import yaml
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from rich.console import Console
from rich.table import Table
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

from moviebot.artefact import METRICS_NAME, write_whole
from moviebot.errors import UserError


def main(arguments: list[str] | None = None) -> int:
    """Run the sweep that the command line names; return the exit code."""
    parser = argparse.ArgumentParser(description="Run a W&B sweep file without W&B's server.")
    parser.add_argument("sweep", type=Path, help="the sweep file, for example configs/sweeps/lora.yaml")
    parser.add_argument("--trials", type=int, default=8, help="how many trials in all, earlier ones included")
    parser.add_argument("--out", type=Path, default=None, help="the folder (default: runs/sweeps/<name of the file>)")
    parser.add_argument("--data", type=Path, default=None, help="the data folder (default: the config's)")
    parser.add_argument("--seed", type=int, default=0, help="of the sampling")
    given, extra = parser.parse_known_args(arguments)
    if given.data:
        extra.append(f"--data.init_args.data_dir={given.data}")
    try:
        return run_sweep(
            given.sweep, given.trials, given.out or Path("runs/sweeps", given.sweep.stem), extra, given.seed
        )
    except UserError as error:
        print(f"sweep: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nsweep: interrupted; finished trials are kept: run the same command to go on", file=sys.stderr)
        return 130


def run_sweep(sweep: Path, trials: int, out: Path, extra: list[str], seed: int = 0) -> int:
    """Run trials until ``trials`` of them are finished, and print the ranking.

    Args:
        sweep: the W&B sweep file.
        trials: how many finished trials there should be in the end.
        out: one folder a trial, the sampler's journal and the ranking.
        extra: further arguments of every trial's command line; they come before the sampled ones, which win.
        seed: of the sampling.

    Returns:
        0, or 1 where every trial failed.
    """
    config = read_sweep(sweep)
    out.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        study_name=sweep.stem,
        storage=JournalStorage(JournalFileBackend(str(out / "optuna.journal"))),
        sampler=optuna.samplers.TPESampler(seed=seed),
        direction="minimize" if config["metric"].get("goal", "minimize") == "minimize" else "maximize",
        load_if_exists=True,
    )
    console = Console()
    # A failed trial counts, so that a sweep in which all fail comes to an end.
    while len(study.get_trials(states=(TrialState.COMPLETE, TrialState.FAIL))) < trials:
        trial = study.ask()
        values = {name: sample(trial, name, space) for name, space in config["parameters"].items()}
        console.print(f"trial {trial.number}: {values}", highlight=False)
        score = run_trial(config, values, out, f"trial_{trial.number:03d}", sweep.stem, extra)
        study.tell(trial, score, state=None if score is not None else TrialState.FAIL)
    return report(study, config["metric"]["name"], out, console)


def read_sweep(path: Path) -> dict[str, Any]:
    """Read a sweep file as W&B does (plain PyYAML).

    Raises:
        UserError: the file is absent, or lacks what a sweep needs.
    """
    if not path.is_file():
        raise UserError(f"{path} is not there: give a sweep file, for example configs/sweeps/lora.yaml")
    config: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    missing = [key for key in ("parameters", "metric", "command") if key not in config]
    if missing:
        raise UserError(f"{path} lacks {', '.join(missing)}: a sweep needs parameters, metric and command")
    for name, space in config["parameters"].items():
        texts = [f"{key}: {space[key]}" for key in ("min", "max") if isinstance(space.get(key), str)]
        if texts:
            raise UserError(f"{path}, {name}: {texts[0]} is a string to PyYAML: write it out, for example 0.00001")
    return config


def sample(trial: optuna.Trial, name: str, space: dict[str, Any]) -> Any:  # noqa: ANN401 (a sweep's value: text, number)
    """Draw one parameter as its W&B description says.

    Raises:
        UserError: the distribution is none of those this tool knows.
    """
    if "value" in space:
        return space["value"]
    if "values" in space:
        return trial.suggest_categorical(name, space["values"])
    kind = space.get("distribution", "int_uniform" if isinstance(space.get("min"), int) else "uniform")
    if kind == "int_uniform":
        return trial.suggest_int(name, space["min"], space["max"])
    if kind in ("uniform", "log_uniform_values"):
        return trial.suggest_float(name, space["min"], space["max"], log=kind == "log_uniform_values")
    raise UserError(
        f"{name}: the distribution {kind!r} is not known here; use values, int_uniform, uniform or log_uniform_values"
    )


def build_command(config: dict[str, Any], values: dict[str, Any], extra: list[str]) -> list[str]:
    """Return the command line that a W&B agent builds for these values, with ``extra`` before the sampled flags."""
    flags = create_sweep_command_args({"args": {name: {"value": value} for name, value in values.items()}})
    macros: dict[str, list[str]] = {
        "${env}": ["/usr/bin/env"],
        "${interpreter}": [sys.executable],
        "${program}": [str(config.get("program", ""))],
        "${args}": [*extra, *flags["args"]],
    }
    command: list[str] = []
    for part in create_sweep_command(list(config["command"])):
        command.extend(macros.get(part, [str(part)]))
    return command


def run_trial(
    config: dict[str, Any], values: dict[str, Any], out: Path, name: str, group: str, extra: list[str]
) -> float | None:
    """Run one trial in a process of its own; return its metric, or None where it failed.

    Its folder is ``out/name``: the training command line puts ``MOVIEBOT_TRIAL`` under its ``default_root_dir``.
    """
    environment = {**os.environ, "WANDB_MODE": "offline", "WANDB_RUN_GROUP": group, "MOVIEBOT_TRIAL": name}
    command = build_command(config, values, [*extra, f"--trainer.default_root_dir={out}"])
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log.txt").open("w", encoding="utf-8") as log:
        code = subprocess.run(command, env=environment, stdout=log, stderr=subprocess.STDOUT, check=False).returncode
    if code == 130:
        raise KeyboardInterrupt
    return read_metric(folder / METRICS_NAME, config["metric"]["name"]) if code == 0 else None


def read_metric(path: Path, name: str) -> float | None:
    """Return a metric's last logged value, or None where it was never logged."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []
    logged = [float(row[name]) for row in rows if name in row]
    return logged[-1] if logged else None


def report(study: optuna.Study, metric: str, out: Path, console: Console) -> int:
    """Print the ranking, best first, and write it to ``ranking.json``; return the exit code."""
    finished = [trial for trial in study.get_trials(states=(TrialState.COMPLETE,)) if trial.value is not None]
    failed = study.get_trials(states=(TrialState.FAIL,))
    finished.sort(key=lambda trial: trial.value or 0.0, reverse=study.direction == optuna.study.StudyDirection.MAXIMIZE)
    rows = [{"trial": f"trial_{trial.number:03d}", metric: trial.value, **trial.params} for trial in finished]
    with write_whole(out / "ranking.json") as temporary:
        temporary.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    names = list(dict.fromkeys(name for row in rows for name in row))
    table = Table(*(name.removeprefix("model.init_args.") for name in names), title=str(out))
    for row in rows:
        table.add_row(*(f"{row[name]:.4g}" if isinstance(row[name], float) else str(row[name]) for name in names))
    console.print(table)
    if failed:
        logs = ", ".join(str(out / f"trial_{trial.number:03d}" / "log.txt") for trial in failed)
        console.print(f"{len(failed)} trial(s) failed: see {logs}")
    return 0 if rows else 1


if __name__ == "__main__":
    sys.exit(main())
