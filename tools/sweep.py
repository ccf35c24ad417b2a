"""Run a W&B sweep file without W&B's server: Optuna samples, each trial is the command line W&B's agent would run.

    python tools/sweep.py configs/sweeps/lora.yaml --trials 8 --out runs/sweeps/lora

Each trial is logged as an offline W&B run of one group (``wandb sync`` sends them later) and has a folder of its own.
A trial that does badly at one of the file's ``early_terminate`` bands is ended there. An interrupted sweep goes on
where it was: run the same command again. At the end the ranking is printed and written to ``ranking.json``, and
plotted to ``parallel.png``.
"""

import argparse
import fcntl
import math
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import optuna
import yaml
from optuna.pruners import BasePruner, NopPruner, SuccessiveHalvingPruner
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from rich.console import Console
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

from moviebot.artefact import METRICS_NAME, read_jsonl
from moviebot.errors import UserError
from moviebot.evaluation.sweep_ranking import EXIT_CODE, list_ended, report_ranking

POLL_S = 1.0  # between two looks at a running trial's metrics
STOP_S = 30.0  # a trial that is ended early has so long to end its W&B run by itself


class Outcome(NamedTuple):
    """How a trial ended.

    Attributes:
        state: complete, pruned (ended early) or failed.
        value: its metric, where it is complete.
        exit_code: of its process.
    """

    state: TrialState
    value: float | None
    exit_code: int


def main(arguments: list[str] | None = None) -> int:
    """Run the sweep that the command line names; return the exit code."""
    parser = argparse.ArgumentParser(description="Run a W&B sweep file without W&B's server.")
    parser.add_argument("sweep", type=Path, help="the sweep file, for example configs/sweeps/lora.yaml")
    parser.add_argument("--trials", type=int, default=None, help="how many in all, earlier ones included (the file's "
                        "run_cap, else 8)")  # fmt: skip
    parser.add_argument("--out", type=Path, default=None, help="the folder (default: runs/sweeps/<name of the file>)")
    parser.add_argument("--data", type=Path, default=None, help="the data folder (default: the config's)")
    parser.add_argument("--seed", type=int, default=0, help="of the sampling")
    given, extra = parser.parse_known_args(arguments)
    if given.data:
        extra.append(f"--data.init_args.data_dir={given.data}")
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        out = given.out or Path("runs/sweeps", given.sweep.stem)
        return run_sweep(given.sweep, given.trials, out, extra, given.seed)
    except UserError as error:
        print(f"sweep: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nsweep: interrupted; finished trials are kept: run the same command to go on", file=sys.stderr)
        return 130
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(*_: object) -> None:
    """Take SIGTERM (a batch system's end of a job) as Ctrl-C: else the running trial would go on alone."""
    raise KeyboardInterrupt


def run_sweep(sweep: Path, trials: int | None, out: Path, extra: list[str], seed: int = 0) -> int:
    """Run trials until ``trials`` of them have ended, and print the ranking.

    Args:
        sweep: the W&B sweep file.
        trials: how many trials there should be in the end, failed and stopped ones included; None takes the file's
            ``run_cap``, else 8.
        out: one folder a trial, the sampler's journal, the ranking and the plot.
        extra: further arguments of every trial's command line; they come before the sampled ones, which win.
        seed: of the sampling.

    Returns:
        0, or 1 where no trial finished.

    Raises:
        UserError: the file is unusable, or another sweep runs in ``out``.
    """
    config = read_sweep(sweep)
    trials = trials or config.get("run_cap") or 8
    out.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with _hold(out):
        storage = JournalStorage(JournalFileBackend(str(out / "optuna.journal")))
        study = optuna.create_study(
            study_name=sweep.stem,
            storage=storage,
            pruner=build_pruner(config.get("early_terminate")),
            direction="minimize" if config["metric"].get("goal", "minimize") == "minimize" else "maximize",
            load_if_exists=True,
        )
        _check_same(study, config, out)
        # With the same seed, a resumed sweep would draw its first trials once more.
        study.sampler = optuna.samplers.TPESampler(seed=seed + len(study.trials))
        _take_up_interrupted(study)
        console = Console(width=None if sys.stdout.isatty() else 200)  # a log file folds no table
        # A failed trial counts, so that a sweep in which all fail comes to an end.
        while len(ended := list_ended(study)) < trials:
            trial = study.ask()
            values = {name: sample(trial, name, space) for name, space in config["parameters"].items()}
            console.print(
                f"trial {trial.number} ({len(ended) + 1} of {trials}): {values}", highlight=False, soft_wrap=True
            )
            outcome = run_trial(config, trial, values, out, sweep.stem, extra)
            trial.set_user_attr(EXIT_CODE, outcome.exit_code)
            study.tell(trial, outcome.value, state=outcome.state)
        return 0 if report_ranking(study, config, out, console) else 1


@contextmanager
def _hold(out: Path) -> Iterator[None]:
    """Let no other sweep run in the folder: it would take this one's trial for an interrupted one."""
    with (out / "sweep.lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"another sweep runs in {out}: wait for it, or give another --out") from error
        yield


def _check_same(study: optuna.Study, config: dict[str, Any], out: Path) -> None:
    """See that the folder's trials are of this sweep: others can't be compared with them."""
    own = {key: config[key] for key in ("parameters", "metric", "command")}
    if study.user_attrs.get("sweep", own) != own:
        raise UserError(f"{out} holds trials of a sweep file that has changed since: give another --out, or remove it")
    study.set_user_attr("sweep", own)


def _take_up_interrupted(study: optuna.Study) -> None:
    """Let trials that an interruption cut short be tried again, with the same values."""
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        study.enqueue_trial(trial.params)
        study.tell(trial.number, state=TrialState.FAIL)


def read_sweep(path: Path) -> dict[str, Any]:
    """Read a sweep file as W&B does (plain PyYAML).

    Raises:
        UserError: the file is absent, lacks what a sweep needs, or holds what W&B's agent would misread; all of it is
            told at once.
    """
    if not path.is_file():
        raise UserError(f"{path} is not there: give a sweep file, for example configs/sweeps/lora.yaml")
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise UserError(f"{path} is no YAML: {error}") from error
    if not isinstance(config, dict):
        raise UserError(f"{path} holds no mapping: a sweep needs parameters, metric and command")
    missing = [key for key in ("parameters", "metric", "command") if key not in config]
    if missing:
        raise UserError(f"{path} lacks {', '.join(missing)}: a sweep needs parameters, metric and command")
    problems = [] if "${args}" in config["command"] else ["command: ${args} is absent: no sampled value would be given"]
    for name, space in config["parameters"].items():
        for key in ("value", "min", "max"):
            problems += _find_misread(f"{name}, {key}", space[key]) if key in space else []
        for value in space.get("values", []):
            problems += _find_misread(f"{name}, values", value)
    problems += _find_stopping_problems(config.get("early_terminate"))
    if problems:
        raise UserError(f"{path}: {'; '.join(problems)}")
    return config


def _find_misread(name: str, value: object) -> list[str]:
    """Return what W&B's agent would misread of a value."""
    if value is None:
        return [f"{name}: null would be given as the text None: leave the parameter out, or name the value"]
    if isinstance(value, str):
        try:
            is_number = math.isfinite(float(value))
        except ValueError:
            is_number = False
        return [f"{name}: {value} is a string to PyYAML: write it out, for example 0.00001"] if is_number else []
    return []


def _find_stopping_problems(stop: dict[str, Any] | None) -> list[str]:
    if stop is None:
        return []
    problems = (
        [] if stop.get("type") == "hyperband" else [f"early_terminate: type {stop.get('type')!r}: only hyperband"]
    )
    problems += [
        f"early_terminate: {key} is not known; allowed are min_iter, or max_iter and s; eta, strict"
        for key in stop.keys() - {"type", "min_iter", "max_iter", "s", "eta", "strict"}
    ]
    if "min_iter" not in stop and not {"max_iter", "s"} <= stop.keys():
        problems.append("early_terminate: give min_iter, or max_iter and s")
    for key, least in (("min_iter", 1), ("max_iter", 1), ("s", 1), ("eta", 2)):
        if key in stop and (type(stop[key]) is not int or stop[key] < least):
            problems.append(f"early_terminate: {key} {stop[key]}: give a whole number from {least}")
    return problems


def build_pruner(stop: dict[str, Any] | None) -> BasePruner:
    """Return the pruner that does what a file's ``early_terminate`` asks for.

    W&B's hyperband looks at a trial's metric when it was logged ``min_iter``, ``min_iter * eta``, ... times, and stops
    the trial unless its value there is among the best ``1 / eta`` of all trials'. Optuna's successive halving does the
    same, but that W&B rounds the number that may go on up, and Optuna down (to no fewer than one). ``max_iter`` and
    ``s`` say the same from above: the first look is at ``max_iter / eta**s``.

    Args:
        stop: ``early_terminate`` as the file has it; None stops nothing.
    """
    if stop is None:
        return NopPruner()
    eta = stop.get("eta", 3)  # W&B's default
    first = stop["min_iter"] if "min_iter" in stop else max(1, stop["max_iter"] // eta ** stop["s"])
    return SuccessiveHalvingPruner(min_resource=first, reduction_factor=eta)


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
    config: dict[str, Any], trial: optuna.Trial, values: dict[str, Any], out: Path, group: str, extra: list[str]
) -> Outcome:
    """Run one trial in a process of its own, and end it where the study's pruner says so.

    Its folder is ``out/trial_...``: the training command line puts ``MOVIEBOT_TRIAL`` under its ``default_root_dir``.

    Args:
        config: the sweep file.
        trial: the study's; the metric is reported to it, each time it is logged.
        values: the sampled hyperparameters.
        out: the sweep's folder.
        group: W&B's group.
        extra: as :func:`run_sweep`.
    """
    name = f"trial_{trial.number:03d}"
    environment = {**os.environ, "WANDB_MODE": "offline", "WANDB_RUN_GROUP": group, "MOVIEBOT_TRIAL": name}
    command = build_command(config, values, [*extra, f"--trainer.default_root_dir={out}"])
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    logged: list[float] = []
    with (folder / "log.txt").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            while (running := _runs_on(process)) or len(logged) < len(_read_logged(folder, config)):
                for value in _read_logged(folder, config)[len(logged) :]:
                    logged.append(value)
                    trial.report(value, step=len(logged))
                    # Asked of a trial that has ended too: the pruner keeps what others are compared with.
                    if trial.should_prune() and running:
                        return Outcome(TrialState.PRUNED, None, stop_process(process))
        finally:
            stop_process(process)
    if process.returncode == 130:
        raise KeyboardInterrupt
    if process.returncode != 0 or not logged or math.isnan(logged[-1]):
        return Outcome(TrialState.FAIL, None, process.returncode)
    return Outcome(TrialState.COMPLETE, logged[-1], 0)


def _runs_on(process: subprocess.Popen[bytes]) -> bool:
    """Wait a moment for a process to end; say whether it still runs."""
    try:
        process.wait(POLL_S)
    except subprocess.TimeoutExpired:
        return True
    return False


def stop_process(process: subprocess.Popen[bytes]) -> int:
    """End a process, first by request (it can then close its W&B run), then by force; return its exit code."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait()


def _read_logged(folder: Path, config: dict[str, Any]) -> list[float]:
    return read_metric(folder / METRICS_NAME, config["metric"]["name"])


def read_metric(path: Path, name: str) -> list[float]:
    """Return each value of a metric that was logged so far: as W&B counts, each is one iteration.

    The file may be written to at the same time: a last line that is not whole is left for later.
    """
    rows = read_jsonl(path, skip_half_line=True) if path.is_file() else []
    return [float(row[name]) for row in rows if name in row]


if __name__ == "__main__":
    sys.exit(main())
