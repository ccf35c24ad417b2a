"""What is exported is what was trained, the untrained encoder stays where training harms, predict gives an index."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, Trainer
from sentence_transformers import SentenceTransformer

from moviebot.callbacks.embedding_writer import EmbeddingWriter
from moviebot.callbacks.retriever_export import RetrieverExport
from moviebot.callbacks.training_checkpoint import TrainingCheckpoint
from moviebot.data.pairs_datamodule import MoviePairsDataModule
from moviebot.data.schemas import Movie
from moviebot.errors import UserError
from moviebot.modules.encoder import encode_texts, load_encoder
from moviebot.modules.index import MovieIndex
from moviebot.modules.retriever import ContrastiveRetriever

ROOT = Path(__file__).resolve().parent.parent.parent
pytestmark = pytest.mark.filterwarnings(
    # Lightning 2.6.6 with torch 2.13: https://github.com/Lightning-AI/pytorch-lightning/issues/21326
    "ignore:.isinstance.treespec, LeafSpec.:FutureWarning",
)


def fit(base: Path, data: Path, folder: Path, *callbacks: Callback, lr: float = 1e-3, sanity: int = -1) -> Trainer:
    trainer = Trainer(
        accelerator="cpu", max_epochs=1, num_sanity_val_steps=sanity, callbacks=list(callbacks), logger=False,
        default_root_dir=folder, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(ContrastiveRetriever(str(base), lr=lr), MoviePairsDataModule(str(data), "question", batch_size=4))
    return trainer


def test_exported_folder_is_the_trained_encoder(tmp_path: Path, tiny_encoder: Path, pairs_dir: Path) -> None:
    trainer = fit(tiny_encoder, pairs_dir, tmp_path, RetrieverExport())
    texts = ["night ferry (1962)", "who directed salt and thunder?"]
    module = trainer.lightning_module
    assert isinstance(module, ContrastiveRetriever)
    module.eval()
    exported = SentenceTransformer(str(tmp_path / "encoder" / "last"), device="cpu")
    trained = module(texts).detach().numpy()
    np.testing.assert_allclose(exported.encode(texts, normalize_embeddings=True), trained, atol=1e-6)
    untrained = encode_texts(load_encoder(tiny_encoder, "cpu"), texts)
    assert np.abs(untrained - trained).max() > 1e-3


def test_training_checkpoint_lies_where_the_config_says(tmp_path: Path, tiny_encoder: Path, pairs_dir: Path) -> None:
    saver = TrainingCheckpoint(every_n_train_steps=2)
    trainer = Trainer(
        accelerator="cpu", max_steps=5, num_sanity_val_steps=0, limit_val_batches=0, callbacks=[saver], logger=False,
        default_root_dir=tmp_path, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    data = MoviePairsDataModule(str(pairs_dir), "question", batch_size=4)
    trainer.fit(ContrastiveRetriever(str(tiny_encoder), lr=1e-3), data)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["last.ckpt"]
    saved = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 5, "the end is saved too, though no second step"
    assert saved["MoviePairsDataModule"] == {"batches_done": 5}


class _Worse(Callback):
    """Stands for a training that does harm: the metric falls after the first validation."""

    def on_validation_end(self, trainer: Trainer, pl_module: object) -> None:
        if not trainer.sanity_checking:
            trainer.callback_metrics["val/mrr"].fill_(-1.0)


def test_untrained_encoder_stays_best_where_training_harms(
    tmp_path: Path, tiny_encoder: Path, pairs_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    export = RetrieverExport(str(tmp_path / "out"))
    with caplog.at_level(logging.WARNING):
        fit(tiny_encoder, pairs_dir, tmp_path, _Worse(), export)
    assert export.best_step == 0
    assert "best/ holds the untrained encoder" in caplog.text
    texts = ["night ferry (1962)"]
    best, last = (encode_texts(load_encoder(tmp_path / "out" / name, "cpu"), texts) for name in ("best", "last"))
    np.testing.assert_allclose(best, encode_texts(load_encoder(tiny_encoder, "cpu"), texts), atol=1e-6)
    assert np.abs(best - last).max() > 1e-3


def test_best_survives_a_resume() -> None:
    export, resumed = RetrieverExport(), RetrieverExport()
    export.best_score, export.best_step = 0.9, 7
    resumed.load_state_dict(export.state_dict())
    assert (resumed.best_score, resumed.best_step) == (0.9, 7)


def test_an_unknown_monitor_is_named(tmp_path: Path, tiny_encoder: Path, pairs_dir: Path) -> None:
    with pytest.raises(UserError, match=r"monitor=val/ndcg is not logged; logged are .*val/mrr"):
        fit(tiny_encoder, pairs_dir, tmp_path, RetrieverExport(monitor="val/ndcg"))


def test_predict_writes_an_index_of_the_whole_catalogue(
    tmp_path: Path, tiny_encoder: Path, pairs_dir: Path, movies: list[Movie]
) -> None:
    trainer = Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, callbacks=[EmbeddingWriter(str(tmp_path))]
    )
    data = MoviePairsDataModule(str(pairs_dir), "recommend", eval_batch_size=5)
    trainer.predict(ContrastiveRetriever(str(tiny_encoder)), data)
    index = MovieIndex.load(tmp_path / "index", pairs_dir / "catalogue.parquet", tmp_path / "encoder")
    assert index.ids == tuple(movie.tconst for movie in movies)
    expected = encode_texts(load_encoder(tmp_path / "encoder", "cpu"), data.documents)
    np.testing.assert_allclose(np.asarray(index.vectors), expected, atol=1e-5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["encoder", "index"]


def test_a_trial_run_of_predict_writes_nothing(tmp_path: Path, tiny_encoder: Path, pairs_dir: Path) -> None:
    writer = EmbeddingWriter(str(tmp_path / "out"))
    trainer = Trainer(accelerator="cpu", logger=False, fast_dev_run=True, callbacks=[writer])
    trainer.predict(ContrastiveRetriever(str(tiny_encoder)), MoviePairsDataModule(str(pairs_dir), "question"))
    assert not (tmp_path / "out").exists()


def test_predict_of_a_part_writes_no_index(tmp_path: Path, tiny_encoder: Path, pairs_dir: Path) -> None:
    trainer = Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, limit_predict_batches=1,
        callbacks=[EmbeddingWriter(str(tmp_path))],
    )  # fmt: skip
    data = MoviePairsDataModule(str(pairs_dir), "question", eval_batch_size=5)
    with pytest.raises(UserError, match=r"left out a part .* drop --trainer\.limit_predict_batches"):
        trainer.predict(ContrastiveRetriever(str(tiny_encoder)), data)
    assert not (tmp_path / "index").exists()


@pytest.mark.slow
def test_two_processes_write_the_index_of_one(tmp_path: Path, tiny_encoder: Path, pairs_dir: Path) -> None:
    """By the command line, as a person would: Lightning starts the second process itself."""
    for processes in (1, 2):
        command = [
            sys.executable, "-m", "moviebot", "predict", "--config", "configs/retriever/recommend_minilm.yaml",
            "--model.init_args.base", str(tiny_encoder), "--data.init_args.data_dir", str(pairs_dir),
            "--data.init_args.eval_batch_size", "5", "--trainer.default_root_dir", str(tmp_path / str(processes)),
            "--trainer.accelerator", "cpu", "--trainer.devices", str(processes), "--trainer.logger", "false",
        ]  # fmt: skip
        if processes == 2:
            command += ["--trainer.strategy", "ddp"]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-2000:]
        assert ("2 processes" in done.stdout + done.stderr) == (processes == 2)
    one, two = (MovieIndex.load(tmp_path / str(processes) / "predictions" / "index") for processes in (1, 2))
    assert one.ids == two.ids
    assert (one.catalogue_hash, one.encoder_hash) == (two.catalogue_hash, two.encoder_hash)
    np.testing.assert_allclose(np.asarray(one.vectors), np.asarray(two.vectors), atol=1e-5)
    assert sorted(path.name for path in (tmp_path / "2" / "predictions").iterdir()) == ["encoder", "index"]
