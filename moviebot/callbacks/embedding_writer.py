"""Turns ``moviebot predict`` of a retriever into an index of the whole catalogue.

Shapes: B documents of a batch, N of the catalogue, D embedding.
"""

from pathlib import Path

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from moviebot.artefact import hash_path, remove
from moviebot.data.pairs_datamodule import MoviePairsDataModule
from moviebot.errors import UserError
from moviebot.modules.encoder import save_encoder
from moviebot.modules.index import MovieIndex, hash_texts
from moviebot.modules.retriever import ContrastiveRetriever


class EmbeddingWriter(Callback):
    """Writes ``index/`` (a :class:`~moviebot.modules.index.MovieIndex`) and the ``encoder/`` that made it.

    Every process writes the part it encoded and the first puts them together. No ``BasePredictionWriter``: that one
    asks torch's ``DataLoader`` which rows a batch holds (and warns where the loader is another), while our batches
    carry their row numbers.

    Args:
        dirpath: the folder for both; ``predictions`` in the trainer's ``default_root_dir`` where None.
    """

    def __init__(self, dirpath: str | None = None) -> None:
        self.dirpath = dirpath
        self._parts: list[tuple[Tensor, Tensor]] = []

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: tuple[Tensor, Tensor],
        batch: object,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep a batch: row numbers ``(B,)`` and vectors ``(B, D)``."""
        numbers, vectors = outputs
        self._parts.append((numbers.cpu(), vectors.float().cpu()))

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the index and the encoder, each whole or not at all."""
        data = getattr(trainer, "datamodule", None)
        if not isinstance(data, MoviePairsDataModule) or not isinstance(pl_module, ContrastiveRetriever):
            raise UserError("EmbeddingWriter goes with a ContrastiveRetriever and a MoviePairsDataModule")
        if getattr(trainer, "fast_dev_run", False):  # a trial of one batch; set outside Trainer's class
            self._parts.clear()
            return
        # Not encoder/ beside index/: RetrieverExport keeps best/ and last/ in the root's encoder/.
        folder = Path(self.dirpath) if self.dirpath else Path(trainer.default_root_dir) / "predictions"
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(self._parts, _part(folder, trainer.global_rank))
        self._parts.clear()
        trainer.strategy.barrier()
        if not trainer.is_global_zero:
            return
        assert pl_module.encoder is not None
        width = pl_module.encoder.get_embedding_dimension() or 0
        found = np.full((len(data.movies), width), np.nan, dtype=np.float32)  # (N, D)
        for rank in range(trainer.world_size):
            for numbers, vectors in torch.load(_part(folder, rank), weights_only=True):
                found[numbers.numpy()] = vectors.numpy()
            remove(_part(folder, rank))
        if np.isnan(found).any():
            raise UserError(
                "predict left out a part of the catalogue, so no index is written: drop --trainer.limit_predict_batches"
            )
        save_encoder(pl_module.encoder, folder / "encoder")
        ids = tuple(movie.tconst for movie in data.movies)
        hashes = hash_path(data.data_dir / "catalogue.parquet"), hash_path(folder / "encoder")
        MovieIndex(ids, found, *hashes, hash_texts(data.documents)).save(folder / "index")


def _part(folder: Path, rank: int) -> Path:
    return folder / f".part{rank}.pt"
