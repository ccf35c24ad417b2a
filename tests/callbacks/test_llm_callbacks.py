"""What watches the language model's training."""

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping

from moviebot.callbacks.adapter_checkpoint import AdapterCheckpoint, export_adapter
from moviebot.callbacks.answer_evaluation import AnswerEvaluation, judge_answer, summarise
from moviebot.callbacks.prediction_writer import PredictionWriter
from moviebot.callbacks.throughput import Throughput
from moviebot.callbacks.wandb_logger import OfflineFirstWandbLogger, is_logged_in
from moviebot.data.qa_datamodule import MovieQADataModule
from moviebot.data.schemas import Movie
from moviebot.modules.lora import LoraSettings
from moviebot.modules.qlora import QLoRALanguageModel

pytestmark = [
    pytest.mark.filterwarnings(r"ignore:`isinstance\(treespec, LeafSpec\)` is deprecated"),
    pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated"),
    pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty"),
]


def fit(base: Path, data: Path, root: Path, callbacks: list[Any], **settings: Any) -> QLoRALanguageModel:
    model = QLoRALanguageModel(base=str(base), lora=LoraSettings(r=2), max_new_tokens=3)
    values = {
        "default_root_dir": root, "accelerator": "cpu", "devices": 1, "max_epochs": 1, "logger": False,
        "enable_progress_bar": False, "enable_model_summary": False, "log_every_n_steps": 1, **settings,
    }  # fmt: skip
    datamodule = MovieQADataModule(data, str(base), batch_size=4, max_length=1500, limit_train=8, limit_val=4)
    Trainer(callbacks=callbacks, **values).fit(model, datamodule)
    return model


class TestAdapterCheckpoint:
    def test_writes_best_and_last_once_each(self, tiny_llama: Path, qa_data_dir: Path, tmp_path: Path) -> None:
        for _ in range(2):  # a second run replaces the first's: no best-v1.ckpt, no folders named after the metric
            fit(tiny_llama, qa_data_dir, tmp_path, [AdapterCheckpoint(save_every_n_steps=1)], max_epochs=2)
            assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.suffix != ".md") == [
                "adapter",
                "adapter/adapter_config.json",
                "adapter/adapter_model.safetensors",
                "adapter_last",
                "adapter_last/adapter_config.json",
                "adapter_last/adapter_model.safetensors",
                "checkpoints",
                "checkpoints/best.ckpt",
                "checkpoints/last.ckpt",
            ]

    def test_last_is_the_present_state(self, tiny_llama: Path, qa_data_dir: Path, tmp_path: Path) -> None:
        model = fit(tiny_llama, qa_data_dir, tmp_path, [AdapterCheckpoint()])
        saved = torch.load(tmp_path / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
        assert saved
        assert all(torch.equal(value, saved[name]) for name, value in model.state_dict().items())

    def test_an_interrupted_write_leaves_the_old_adapter(
        self, tiny_llama: Path, qa_data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        model = fit(tiny_llama, qa_data_dir, tmp_path, [AdapterCheckpoint()])
        before = (tmp_path / "adapter/adapter_model.safetensors").read_bytes()

        def stop(path: str, **_: object) -> None:
            Path(path).mkdir()
            Path(path, "adapter_config.json").write_text("{")
            raise KeyboardInterrupt

        monkeypatch.setattr(model.model, "save_pretrained", stop)
        with pytest.raises(KeyboardInterrupt):
            export_adapter(model, tmp_path / "adapter")
        assert (tmp_path / "adapter/adapter_model.safetensors").read_bytes() == before
        assert not list(tmp_path.glob(".*"))


UP = Movie("tt1", "Up", year=2009, directors=("Pete Docter",))
ASKED = {
    "task": "qa", "group": "director", "question": "Who directed Up?", "prompt": "p", "answer": "Pete Docter did."
}  # fmt: skip


class TestAnswerEvaluation:
    def test_writes_each_validations_answers_once(self, tiny_llama: Path, qa_data_dir: Path, tmp_path: Path) -> None:
        for _ in range(2):
            fit(tiny_llama, qa_data_dir, tmp_path, [AnswerEvaluation(n=3, max_new_tokens=2)], max_epochs=2)
        rows = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
        assert [row["step"] for row in rows] == [2] * 3 + [4] * 3
        assert all(list(row) == ["step", "group", "question", "facts", "gold", "answer", "flags"] for row in rows)
        assert len({row["group"] for row in rows}) == 3
        assert all("cut" in row["flags"] for row in rows)  # two tokens, and a model of random weights

    def test_stopping_and_the_best_state_can_go_by_the_task(
        self, tiny_llama: Path, qa_data_dir: Path, tmp_path: Path
    ) -> None:
        """The values are there when the other callbacks look, whatever their order."""
        stopping = EarlyStopping("val/exact_fact", mode="max", patience=1)
        best = AdapterCheckpoint(monitor="val/stop_rate", mode="max")
        callbacks = [stopping, best, AnswerEvaluation(n=4, max_new_tokens=2)]
        model = fit(tiny_llama, qa_data_dir, tmp_path, callbacks, max_epochs=9)
        assert stopping.stopped_epoch == 1  # nothing is right in either epoch
        assert best.best_model_score is not None
        assert best.best_model_score.item() == 0.0
        values = model.trainer.callback_metrics
        assert float(values["val/perplexity"]) == pytest.approx(math.exp(float(values["val/loss"])), rel=1e-4)
        assert {"val/token_f1", "val/rouge_l", "val/answer_words"} <= values.keys()

    def test_judges_facts(self) -> None:
        right = judge_answer(ASKED, UP, "Up was directed by Pete Docter.", ended=True)
        assert right["exact_fact"] == 1
        assert right["flags"] == ["right"]
        assert right["facts"] == ["Pete Docter"]
        wrong = judge_answer(ASKED, UP, "Brad Bird", ended=False)
        assert wrong["flags"] == ["cut"]
        assert wrong["token_f1"] == 0
        declined = judge_answer(ASKED, UP, "I don't know.", ended=True)
        assert declined["flags"] == ["declined"]
        unanswerable = judge_answer({**ASKED, "group": "unanswerable"}, UP, "I don't know.", ended=True)
        assert unanswerable["flags"] == ["declined", "right"]
        values = summarise([right, wrong, declined, unanswerable])
        assert values["exact_fact"] == pytest.approx(1 / 3)
        assert values["wrongly_declined"] == pytest.approx(1 / 3)
        assert values["declined"] == 1
        assert values["stop_rate"] == 0.75
        assert "title_match" not in values

    def test_judges_recommendations(self) -> None:
        row = {
            "task": "recommend", "group": "recommend", "question": "Recommend movies like Up",
            "answer": "A (2001)\nB (2002)",
            "prompt": "x\n\n### Input:\nA (2001)\nB (2002)\nC (2003)\n\n### Response:\n",
        }  # fmt: skip
        judged = judge_answer(row, UP, "B (2002)\nC (2003)\nZ (1999)\nB (2022)", ended=True)
        assert judged["title_match"] == 0.5
        assert judged["invented_titles"] == 0.5
        assert judged["flags"] == ["invented"]


class TestThroughput:
    def test_counts_tokens_that_are_not_padding(self, monkeypatch: pytest.MonkeyPatch) -> None:
        logged: dict[str, float] = {}
        module = SimpleNamespace(device=torch.device("cpu"), log_dict=lambda values, **_: logged.update(values))
        clock = iter([10.0, 12.0, 20.0, 22.0])
        monkeypatch.setattr("moviebot.callbacks.throughput.time.perf_counter", lambda: next(clock))
        batch = {
            "input_ids": torch.ones(2, 4, dtype=torch.int64),
            "attention_mask": torch.tensor([[0, 1, 1, 1], [1, 1, 1, 1]]),
            "labels": torch.tensor([[-100, -100, 5, 1], [-100, -100, -100, 1]]),
        }
        callback = Throughput(every_n_batches=2)
        for index in range(2):
            assert not logged
            callback.on_train_batch_start(cast(Trainer, None), cast(LightningModule, module), cast(Any, batch), index)
            callback.on_train_batch_end(
                cast(Trainer, None), cast(LightningModule, module), None, cast(Any, batch), index
            )
        assert logged["speed/tokens_per_s"] == 14 / 4  # 7 tokens in each of two batches of 2 s; the pause is left out
        assert logged["speed/supervised_tokens_per_s"] == 6 / 4
        assert 0.05 < logged["memory/peak_rss_gib"] < 100


class TestPredictionWriter:
    def test_writes_rows_in_order(self, tmp_path: Path) -> None:
        trainer = cast(Trainer, SimpleNamespace(default_root_dir=str(tmp_path), global_rank=0))
        rows = [[{"prediction": "a"}, {"prediction": "b"}], [{"prediction": "c"}]]
        PredictionWriter().write_on_epoch_end(trainer, cast(LightningModule, None), rows, [])
        lines = (tmp_path / "predictions.jsonl").read_text().splitlines()
        assert [json.loads(line)["prediction"] for line in lines] == ["a", "b", "c"]


class TestWandbLogger:
    @pytest.mark.parametrize(
        ("environment", "login", "expected"),
        [
            ({}, False, False),
            ({}, True, True),
            ({"WANDB_API_KEY": "k"}, False, True),
            ({"WANDB_API_KEY": "k", "WANDB_MODE": "offline"}, True, False),
            ({"WANDB_MODE": "online"}, False, True),
        ],
    )
    def test_is_offline_unless_logged_in(
        self, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], login: bool, expected: bool
    ) -> None:
        class Netrc:
            def authenticators(self, host: str) -> tuple[str, str, str] | None:
                return ("user", "", "key") if login else None

        monkeypatch.delenv("WANDB_MODE", raising=False)
        monkeypatch.delenv("WANDB_API_KEY", raising=False)
        monkeypatch.setattr("moviebot.callbacks.wandb_logger.netrc.netrc", Netrc)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        assert is_logged_in() == expected

    def test_also_writes_a_plain_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("lightning.pytorch.loggers.WandbLogger.log_metrics", lambda *_: None)
        logger = OfflineFirstWandbLogger(save_dir=str(tmp_path))
        logger.log_metrics({"val/loss": 1.5}, 3)
        logger.log_metrics({"val/loss": 1.0}, 4)
        lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
        assert [json.loads(line) for line in lines] == [{"step": 3, "val/loss": 1.5}, {"step": 4, "val/loss": 1.0}]
