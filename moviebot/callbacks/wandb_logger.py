"""W&B without an account: offline unless the person is logged in, and a plain file beside it."""

import json
import logging
import netrc
import os
from collections.abc import Mapping
from pathlib import Path

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import WandbLogger

from moviebot.artefact import METRICS_NAME

_log = logging.getLogger(__name__)


class OfflineFirstWandbLogger(WandbLogger):
    """Logs to W&B, offline unless the person is logged in, and to ``metrics.jsonl``.

    Nothing leaves the machine unless there is a key (``WANDB_API_KEY`` or ``wandb login``) or ``WANDB_MODE=online``;
    offline runs can be sent later with ``wandb sync``. W&B's offline files can't be read without its server, so each
    metric also goes to ``save_dir/metrics.jsonl``, one object ``{"step": ..., name: value}`` a line.

    Args:
        save_dir: the folder; None takes the trainer's ``default_root_dir`` (the command line sees to it).
        project: W&B's project.
        name: the run's name; None lets W&B choose.
        group: the group, for the trials of a sweep; None takes ``WANDB_RUN_GROUP``.
        tags: W&B's tags.
    """

    def __init__(
        self,
        save_dir: str | None = None,
        project: str = "moviebot",
        name: str | None = None,
        group: str | None = None,
        tags: list[str] | None = None,
    ) -> None:
        folder = Path(save_dir or ".")
        super().__init__(
            name=name,
            save_dir=folder,
            project=project,
            offline=not is_logged_in(),
            group=group or os.environ.get("WANDB_RUN_GROUP"),
            tags=tags,
        )
        self._wandb_init.pop("anonymous", None)  # wandb warns of its mere presence
        self.metrics_path = folder / METRICS_NAME

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log to W&B and append to ``metrics.jsonl``."""
        super().log_metrics(dict(metrics), step)
        self.metrics_path.parent.mkdir(parents=True, exist_ok=True)
        with self.metrics_path.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps({"step": step, **{name: float(value) for name, value in metrics.items()}}) + "\n")


def is_logged_in() -> bool:
    """Say whether W&B may be reached: ``WANDB_MODE`` decides where it is set, else whether there is a key."""
    if mode := os.environ.get("WANDB_MODE"):
        return mode == "online"
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc().authenticators("api.wandb.ai") is not None
    except (FileNotFoundError, netrc.NetrcParseError):
        return False
