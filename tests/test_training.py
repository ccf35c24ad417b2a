"""The training command line: links, folders, errors in one line."""

import inspect
import os
import sys
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule
from lightning.pytorch.loggers import Logger

from moviebot import training
from moviebot.data.qa_datamodule import MovieQADataModule
from moviebot.errors import UserError
from moviebot.modules.qlora import QLoRALanguageModel
from moviebot.training import describe_parser_error, run_lightning

pytestmark = [
    # Lightning 2.6.6 calls jsonargparse 4.53 by names that 5.0 will drop.
    pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated"),
    pytest.mark.filterwarnings("ignore:`max_epochs` was not set"),
]
MODEL = ["--model", "moviebot.modules.qlora.QLoRALanguageModel", "--model.init_args.base", "no/model"]
DATA = ["--data", "moviebot.data.qa_datamodule.MovieQADataModule", "--data.init_args.data_dir", "nowhere"]
PLAIN = [*MODEL, *DATA, "--trainer.logger=false", "--trainer.accelerator=cpu"]


@pytest.fixture(autouse=True)
def bare_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["moviebot"])  # Lightning warns where both args and a command line are given


class TestParsing:
    def test_instantiates_without_weights(self) -> None:
        cli = run_lightning([*PLAIN, "--model.init_args.lora.r=4"], run=False)
        assert isinstance(cli.model, QLoRALanguageModel)
        assert cli.model.lora.r == 4
        assert cli.model.model is None
        assert cli.config["seed_everything"] == 0

    def test_short_class_names_resolve(self) -> None:
        cli = run_lightning(
            [*(part.rpartition(".")[2] if "QA" in part or "QL" in part else part for part in PLAIN)], False
        )
        assert isinstance(cli.datamodule, MovieQADataModule)

    def test_tokenizer_is_the_models_base(self) -> None:
        cli = run_lightning(PLAIN, run=False)
        assert isinstance(cli.datamodule, MovieQADataModule)
        assert cli.datamodule.tokenizer_name == "no/model"

    def test_link_targets_exist(self) -> None:
        """A link to an argument that is not there would do nothing, without a word."""
        assert "tokenizer" in inspect.signature(MovieQADataModule).parameters
        assert "base" in inspect.signature(QLoRALanguageModel).parameters

    def test_a_datamodule_without_tokenizer_is_fine(self) -> None:
        without = ["--data", "tests.test_training.Bare" if __name__.startswith("tests.") else f"{__name__}.Bare"]
        cli = run_lightning([*MODEL, *without, "--trainer.logger=false", "--trainer.accelerator=cpu"], run=False)
        assert type(cli.datamodule).__name__ == "Bare"


class Bare(LightningDataModule):
    """A datamodule without a tokenizer."""


class TestErrors:
    @pytest.mark.parametrize(
        ("argument", "message"),
        [
            ("--model.init_args.lrr=1", r"^lrr is no setting of QLoRALanguageModel; the closest are lr"),
            ("--model.init_args.lora.rr=1", r"^lora.rr is no setting.*lora\.r"),
            ("--model.init_args.lr=fast", r"^lr: 'fast' is not allowed; it must be float$"),
            ("--model.init_args.lora.targets=everything", r"everything.*'all', 'attention'"),
            ("--trainer.max_epoch=1", r"^trainer.max_epoch is no setting; the closest are trainer.max_epochs"),
            ("--config=nowhere.yaml", r"nowhere.yaml"),
        ],
    )
    def test_are_one_line(self, argument: str, message: str) -> None:
        with pytest.raises(UserError, match=message) as caught:
            run_lightning([*PLAIN, argument], run=False)
        assert "\n" not in str(caught.value)
        assert "<class" not in str(caught.value)

    def test_misspelt_key_of_a_config_names_the_closest(self, tmp_path: Path) -> None:
        config = tmp_path / "c.yaml"
        config.write_text("model:\n  init_args:\n    gradient_checkpoint: true\n")
        with pytest.raises(UserError, match=r"gradient_checkpoint is no setting.*gradient_checkpointing"):
            run_lightning([*PLAIN, "--config", str(config)], run=False)

    @pytest.mark.parametrize("flag", ["--model=Other", "--model.class_path=Other", "--data=Other"])
    def test_another_class_by_flag_is_refused(self, flag: str) -> None:
        with pytest.raises(UserError, match=r"after --config: another class would keep the config's arguments"):
            run_lightning(["--config", "configs/llm/smollm2_135m_qlora.yaml", flag], run=False)

    def test_no_class_takes_whatever_it_is_given(self) -> None:
        """With ``**kwargs`` a misspelt key of a config would be an argument like any other."""
        training._import_classes()
        classes = [
            found
            for package in ("modules", "data", "callbacks")
            for name, module in list(sys.modules.items())
            if name.startswith(f"moviebot.{package}.")
            for found in vars(module).values()
            if inspect.isclass(found)
            and issubclass(found, (LightningModule, LightningDataModule, Callback, Logger))
            and found.__module__ == name
        ]
        assert len(classes) >= 12
        for found in classes:
            kinds = {parameter.kind for parameter in inspect.signature(found.__init__).parameters.values()}
            assert not kinds & {inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL}, found

    def test_unknown_message_is_kept(self) -> None:
        assert describe_parser_error("Something\n  - else\n third") == "Something: else"


class TestFolders:
    def test_logger_and_run_share_the_folder(self, tmp_path: Path) -> None:
        logger = "moviebot.callbacks.wandb_logger.OfflineFirstWandbLogger"
        arguments = [*MODEL, *DATA, "--trainer.accelerator=cpu", f"--trainer.logger={logger}"]
        cli = run_lightning([*arguments, f"--trainer.default_root_dir={tmp_path}/x"], run=False)
        assert cli.trainer.default_root_dir == cli.trainer.log_dir == f"{tmp_path}/x"

    @pytest.mark.parametrize(
        "environment", [{"MOVIEBOT_TRIAL": "t7"}, {"WANDB_SWEEP_ID": "s", "WANDB_RUN_ID": "t7"}], ids=["own", "wandb"]
    )
    def test_trials_of_a_sweep_have_their_own(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
    ) -> None:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        cli = run_lightning([*PLAIN, f"--trainer.default_root_dir={tmp_path}"], run=False)
        assert cli.trainer.default_root_dir == str(tmp_path / "t7")

    def test_a_run_id_alone_is_no_trial(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("WANDB_RUN_ID", "kept")
        assert training._trial_name() == ""
        assert "WANDB_SWEEP_ID" not in os.environ


class TestCheckpointSettings:
    def test_never_override_the_config(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        torch.save({"hyper_parameters": {"max_new_tokens": 7, "base": "no/model"}}, tmp_path / "c.ckpt")
        with caplog.at_level("WARNING", logger="moviebot.training"), pytest.raises(UserError, match="nowhere lacks"):
            run_lightning(["fit", *PLAIN, "--model.init_args.max_new_tokens=9", f"--ckpt_path={tmp_path}/c.ckpt"])
        assert "was trained with max_new_tokens=7; the config's 9 is used" in caplog.text

    def test_of_another_training_are_refused(self, tmp_path: Path) -> None:
        """The optimiser's state would bring the old rate back, whatever the config says."""
        torch.save({"hyper_parameters": {"lr": 0.5, "base": "no/model"}}, tmp_path / "c.ckpt")
        with pytest.raises(UserError, match=r"can't go on with other settings \(lr was 0\.5 and is 0\.25\)"):
            run_lightning(["fit", *PLAIN, "--model.init_args.lr=0.25", f"--ckpt_path={tmp_path}/c.ckpt"])


class TestMeasuredCheckpoint:
    @pytest.mark.parametrize("command", ["validate", "test", "predict"])
    @pytest.mark.parametrize(
        ("present", "given", "expected"),
        [
            (["best.ckpt", "last.ckpt"], None, "checkpoints/best.ckpt"),
            (["last.ckpt"], None, "checkpoints/last.ckpt"),
            (["best.ckpt", "mine.ckpt"], "checkpoints/mine.ckpt", "checkpoints/mine.ckpt"),
            ([], None, None),
        ],
        ids=["best", "last", "given", "none"],
    )
    def test_is_the_runs_best(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
        command: str,
        present: list[str],
        given: str | None,
        expected: str | None,
    ) -> None:
        monkeypatch.setenv("MOVIEBOT_TRIAL", "t1")  # its folder counts, not the sweep's
        root = tmp_path / "t1"
        (root / "checkpoints").mkdir(parents=True)
        for name in present:
            torch.save({"hyper_parameters": {"lr": 0.5}}, root / "checkpoints" / name)
        used: list[object] = []
        monkeypatch.setattr(
            training.MovieBotCLI, "_run_subcommand", lambda self, name: used.append(self.config_init[name].ckpt_path)
        )
        flags = [f"--ckpt_path={root / given}"] if given else []
        with caplog.at_level("INFO", logger="moviebot.training"):
            run_lightning([command, *PLAIN, f"--trainer.default_root_dir={tmp_path}", *flags])
        assert used == [str(root / expected) if expected else None]
        lines = [record.getMessage() for record in caplog.records if "--ckpt_path" in record.getMessage()]
        if given:
            assert not lines
        elif expected:
            assert lines == [f"no --ckpt_path is given: {root / expected} is used"]
        else:
            assert lines == [
                f"no --ckpt_path is given and {root}/checkpoints has no checkpoint: the untrained model is used"
            ]
        assert ("was trained with lr=0.5" in caplog.text) == (expected is not None)
