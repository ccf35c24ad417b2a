"""Sweeps: the command W&B's agent would run really runs, and the local tool ranks and resumes."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

from moviebot.errors import UserError
from tools import sweep

ROOT = Path(__file__).resolve().parent.parent.parent
FILE = ROOT / "configs/sweeps/lora.yaml"
VALUES = {
    "model.init_args.lora.r": 4,
    "model.init_args.lora.alpha": 8,
    "model.init_args.lora.dropout": 0.05,
    "model.init_args.lora.targets": "qv",
    "model.init_args.lr": 0.0005,
}


def tiny_settings(base: Path, data: Path, out: Path) -> list[str]:
    return [
        f"--model.init_args.base={base}",
        "--model.init_args.max_new_tokens=2",
        f"--data.init_args.data_dir={data}",
        "--data.init_args.max_length=1500",
        "--data.init_args.limit_train=8",
        "--data.init_args.limit_val=4",
        f"--trainer.default_root_dir={out}",
        "--trainer.accelerator=cpu",
        "--trainer.enable_progress_bar=false",
    ]


def agent_command(config: dict[str, Any], values: dict[str, Any]) -> list[str]:
    """Build a command as wandb_agent.py does, from W&B's own functions."""
    flags = create_sweep_command_args({"args": {name: {"value": value} for name, value in values.items()}})
    macros = {"${env}": ["/usr/bin/env"], "${interpreter}": [sys.executable], "${args}": flags["args"]}
    command = create_sweep_command(list(config["command"]))
    return [part for piece in command for part in macros.get(piece, [piece])]


def test_agents_command_runs(
    tiny_llama: Path, qa_data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = sweep.read_sweep(FILE)
    assert set(config["parameters"]) == set(VALUES)
    command = agent_command(config, VALUES)
    assert command == sweep.build_command(config, VALUES, [])
    # Only the sizes are made small: before the sampled flags, which come last and win.
    first = command.index("--model.init_args.lora.r=4")
    command[first:first] = tiny_settings(tiny_llama, qa_data_dir, tmp_path)
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep1")
    monkeypatch.setenv("WANDB_RUN_ID", "run1")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "run1/adapter/adapter_config.json").is_file()
    adapter = json.loads((tmp_path / "run1/adapter/adapter_config.json").read_text())
    assert (adapter["r"], adapter["lora_alpha"], adapter["lora_dropout"]) == (4, 8, 0.05)
    assert sorted(adapter["target_modules"]) == ["q_proj", "v_proj"]
    saved = yaml.safe_load((tmp_path / "run1/config.yaml").read_text())
    assert saved["model"]["init_args"]["lr"] == 0.0005
    assert sweep.read_metric(tmp_path / "run1/metrics.jsonl", config["metric"]["name"]) is not None


class TestLocalSweep:
    @pytest.fixture
    def fake_sweep(self, tmp_path: Path) -> Path:
        """A sweep whose command is a small script: it writes the metric where the training would."""
        script = tmp_path / "train.py"
        script.write_text(
            "import json, os, pathlib, sys\n"
            "values = dict(arg.lstrip('-').split('=') for arg in sys.argv[1:] if '=' in arg)\n"
            "folder = pathlib.Path(values['trainer.default_root_dir'], os.environ['MOVIEBOT_TRIAL'])\n"
            "if values['model.kind'] == 'bad': sys.exit(1)\n"
            "loss = (float(values['model.lr']) - 0.5) ** 2\n"
            "lines = [json.dumps({'val/loss': value}) for value in (9, loss)]\n"
            "(folder / 'metrics.jsonl').write_text('\\n'.join(lines))\n"
            "(folder / 'env.json').write_text(json.dumps(dict(os.environ)))\n"
        )
        path = tmp_path / "fake.yaml"
        parameters = {"model.lr": {"min": 0.0, "max": 1.0}, "model.kind": {"values": ["good", "bad"]}}
        metric = {"name": "val/loss", "goal": "minimize"}
        command = ["${interpreter}", str(script), "${args}"]
        path.write_text(yaml.safe_dump({"parameters": parameters, "metric": metric, "command": command}))
        return path

    def test_ranks_resumes_and_survives_failures(
        self, fake_sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = tmp_path / "out"
        assert sweep.main([str(fake_sweep), "--trials", "4", "--out", str(out)]) == 0
        assert sweep.main([str(fake_sweep), "--trials", "6", "--out", str(out)]) == 0
        assert len(list(out.glob("trial_*"))) == 6
        ranking = json.loads((out / "ranking.json").read_text())
        failed = 6 - len(ranking)
        assert 0 < len(ranking) < 6
        losses = [row["val/loss"] for row in ranking]
        assert losses == sorted(losses)
        assert f"{failed} trial(s) failed" in capsys.readouterr().out.replace("\n", " ")
        environment = json.loads((out / ranking[0]["trial"] / "env.json").read_text())
        assert environment["WANDB_MODE"] == "offline"
        assert environment["WANDB_RUN_GROUP"] == "fake"

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("parameters: {}\n", "lacks metric, command"),
            ("parameters: {lr: {min: 1e-5, max: 1}}\nmetric: {name: x}\ncommand: []\n", "min: 1e-5 is a string"),
        ],
    )
    def test_bad_file_is_one_line(self, tmp_path: Path, text: str, message: str) -> None:
        (tmp_path / "s.yaml").write_text(text)
        with pytest.raises(UserError, match=message):
            sweep.read_sweep(tmp_path / "s.yaml")

    def test_missing_file_exits_with_2(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert sweep.main([str(tmp_path / "no.yaml")]) == 2
        assert "is not there" in capsys.readouterr().err

    def test_unknown_distribution_is_one_line(self) -> None:
        trial = optuna.trial.FixedTrial({})
        with pytest.raises(UserError, match="the distribution 'beta' is not known"):
            sweep.sample(trial, "x", {"distribution": "beta", "min": 0.0, "max": 1.0})
