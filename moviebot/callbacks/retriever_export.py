"""Writes the trained retriever as a folder that every sentence-transformers program reads."""

import logging
from pathlib import Path
from typing import TypedDict

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only

from moviebot.errors import UserError
from moviebot.modules.encoder import save_encoder
from moviebot.modules.retriever import ContrastiveRetriever

logger = logging.getLogger(__name__)


class _State(TypedDict):
    best_score: float
    best_step: int


class RetrieverExport(Callback):
    """Keeps ``best/`` (by a validation metric) and ``last/``, each a standard sentence-transformers folder.

    Lightning's ``ModelCheckpoint`` keeps what training needs to go on; this keeps what answering needs.

    With ``trainer.num_sanity_val_steps: -1`` the encoder is validated before the first step as well, and ``best/`` is
    then the untrained encoder until training beats it: a fine-tune that does harm is never what is kept. (On MS MARCO
    every fine-tune of MiniLM did harm: arXiv 2506.18535.)

    Args:
        dirpath: the folder for both; ``encoder`` in the trainer's ``default_root_dir`` where None.
        monitor: the metric that decides, the higher the better; a tie goes to the later step.
    """

    def __init__(self, dirpath: str | None = None, monitor: str = "val/mrr") -> None:
        self.dirpath = dirpath
        self.monitor = monitor
        self.best_score = float("-inf")
        self.best_step = -1

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write ``best/`` where the metric has not fallen below the best so far."""
        partial = trainer.sanity_checking and trainer.num_sanity_val_steps != float("inf")
        if partial or _is_trial(trainer) or trainer.state.fn != "fit":
            return
        score = trainer.callback_metrics.get(self.monitor)
        if score is None:
            known = ", ".join(sorted(trainer.callback_metrics))
            raise UserError(f"RetrieverExport's monitor={self.monitor} is not logged; logged are {known}")
        if score.item() >= self.best_score:
            self.best_score, self.best_step = score.item(), trainer.global_step
            self._save(trainer, pl_module, "best")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write ``last/``, and say so where training did no good."""
        if _is_trial(trainer):
            return
        self._save(trainer, pl_module, "last")
        if self.best_step == 0 and trainer.global_step > 0:
            logger.warning(
                "No validation beat the untrained encoder's %s of %.4f: best/ holds the untrained encoder",
                self.monitor,
                self.best_score,
            )

    def state_dict(self) -> _State:  # type: ignore[override]  # Lightning says dict[str, Any]
        """Return what a resumed run needs."""
        return {"best_score": self.best_score, "best_step": self.best_step}

    def load_state_dict(self, state_dict: _State) -> None:  # type: ignore[override]
        """Take over the best so far."""
        self.best_score, self.best_step = state_dict["best_score"], state_dict["best_step"]

    @rank_zero_only
    def _save(self, trainer: Trainer, pl_module: LightningModule, name: str) -> None:
        if not isinstance(pl_module, ContrastiveRetriever) or pl_module.encoder is None:
            raise UserError(f"RetrieverExport goes with a ContrastiveRetriever, not with a {type(pl_module).__name__}")
        folder = Path(self.dirpath) if self.dirpath else Path(trainer.default_root_dir) / "encoder"
        save_encoder(pl_module.encoder, folder / name)


def _is_trial(trainer: Trainer) -> bool:
    return bool(getattr(trainer, "fast_dev_run", False))  # set outside Trainer's class, unknown to type checkers
