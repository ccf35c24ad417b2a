"""Every YAML of configs/ is whole: it parses and instantiates offline, and each experiment runs from fit to predict."""

import json
from pathlib import Path

import pytest
import yaml

from moviebot.data.schemas import Movie
from moviebot.modules.index import MovieIndex
from moviebot.training import run_lightning

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))
EXPERIMENTS = [path for path in CONFIGS if path.parent.name in ("llm", "retriever")]
OVERLAYS = [path for path in CONFIGS if path.parent.name == "hardware"]
SWEEPS = [path for path in CONFIGS if path.parent.name == "sweeps"]
RETRIEVERS = [path for path in EXPERIMENTS if path.parent.name == "retriever"]
LLM = [path for path in EXPERIMENTS if path.parent.name == "llm"]

pytestmark = [
    # Lightning 2.6.6 calls jsonargparse 4.53 by names that 5.0 will drop.
    pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated"),
    # Lightning 2.6.6 asks torch 2.13's pytree by a deprecated name.
    pytest.mark.filterwarnings(r"ignore:`isinstance\(treespec, LeafSpec\)` is deprecated"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty"),
    pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers"),
]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT / "configs"))


@pytest.fixture(autouse=True)
def bare_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["moviebot"])


def test_all_are_found() -> None:
    assert len(EXPERIMENTS) == 5
    assert len(OVERLAYS) == 6
    assert len(SWEEPS) == 1
    assert len(CONFIGS) == 12


@pytest.mark.parametrize("path", CONFIGS, ids=name_of)
def test_has_a_header_and_the_keys_in_order(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert "/home/" not in text
    if path in SWEEPS:
        return
    keys = list(yaml.safe_load(text))
    order = [key for key in ("seed_everything", "trainer", "model", "data") if key in keys]
    assert keys == order
    if path in OVERLAYS:
        allowed = {
            "trainer": {"accelerator", "devices", "precision", "accumulate_grad_batches", "strategy"},
            "model": {"gradient_checkpointing"},
            "data": {"batch_size", "eval_batch_size"},
        }
        for key, values in yaml.safe_load(text).items():
            assert set(values.get("init_args", values)) <= allowed[key]
    else:
        assert keys == ["seed_everything", "trainer", "model", "data"]
        assert f"configs/{name_of(path)}" in text  # the command


@pytest.mark.parametrize("path", EXPERIMENTS, ids=name_of)
def test_instantiates_without_weights(path: Path, tmp_path: Path) -> None:
    cli = run_lightning(["--config", str(path), f"--trainer.default_root_dir={tmp_path}"], run=False)
    assert list(cli.model.parameters()) == []  # construction loads nothing
    assert cli.trainer.log_dir == str(tmp_path)


@pytest.mark.parametrize("path", OVERLAYS, ids=name_of)
@pytest.mark.parametrize("experiment", LLM, ids=name_of)
def test_overlays_fit_the_language_models(experiment: Path, path: Path, tmp_path: Path) -> None:
    on_cpu = ["--trainer.accelerator=cpu", "--trainer.devices=1", "--trainer.precision=32-true"]  # no GPU is here
    arguments = ["--config", str(experiment), "--config", str(path), *on_cpu, f"--trainer.default_root_dir={tmp_path}"]
    cli = run_lightning(arguments, run=False)
    config = cli.config
    effective = config["data"]["init_args"]["batch_size"] * config["trainer"]["accumulate_grad_batches"]
    overlay = yaml.safe_load(path.read_text(encoding="utf-8"))
    sets_batches = "data" in overlay or "accumulate_grad_batches" in overlay["trainer"]
    own = 2 if "smollm2" in experiment.name else 8  # the demo takes many small steps
    assert effective == (8 if sets_batches else own)  # 8 as published, on one device
    assert config["trainer"]["callbacks"]  # an overlay that named callbacks would replace them


def test_llama_is_the_published_recipe() -> None:
    config = run_lightning(["--config", str(ROOT / "configs/llm/llama2_7b_qlora.yaml")], run=False).config
    model, data = config["model"]["init_args"], config["data"]["init_args"]
    assert model["base"] == "meta-llama/Llama-2-7b-hf"
    lora = {"r": 32, "alpha": 16, "dropout": 0.05, "targets": "all", "use_rslora": False, "use_dora": False}
    assert model["lora"].as_dict() == {**lora, "init": "default"}
    assert (model["lr"], model["warmup_share"], model["quantise"]) == (3e-4, 0.05, True)
    assert (data["batch_size"], data["max_length"], data["limit_train"]) == (8, 1024, None)
    assert config["trainer"]["max_epochs"] == 1


@pytest.mark.parametrize("path", LLM, ids=name_of)
def test_language_model_runs_from_fit_to_predict(
    path: Path, tiny_llama: Path, qa_data_dir: Path, tmp_path: Path
) -> None:
    overlay = tmp_path / "tiny.yaml"
    overlay.write_text(
        yaml.safe_dump(
            {
                "trainer": {
                    "default_root_dir": str(tmp_path), "accelerator": "cpu", "devices": 1, "max_epochs": 1,
                    "enable_progress_bar": False, "enable_model_summary": False, "accumulate_grad_batches": 2,
                    "num_sanity_val_steps": 1, "log_every_n_steps": 1,
                },
                "model": {"init_args": {"base": str(tiny_llama), "max_new_tokens": 4}},
                "data": {
                    "init_args": {
                        "data_dir": str(qa_data_dir), "max_length": 1500, "batch_size": 4, "limit_train": 16,
                        "limit_val": 4, "limit_test": 6, "num_workers": 0,
                    }
                },
            }
        )
    )  # fmt: skip
    arguments = ["--config", str(path), "--config", str(overlay)]
    run_lightning(["fit", *arguments])
    saved = tmp_path / "checkpoints/best.ckpt"
    for command in ("validate", "test", "predict"):
        run_lightning([command, *arguments, f"--ckpt_path={saved}"])
    assert (tmp_path / "config.yaml").is_file()
    assert (tmp_path / "checkpoints/last.ckpt").is_file()
    for folder in ("adapter", "adapter_last"):
        assert (tmp_path / folder / "adapter_model.safetensors").is_file()
    logged: dict[str, float] = {}
    for line in (tmp_path / "metrics.jsonl").read_text().splitlines():
        logged.update(json.loads(line))
    for key in ("train/loss", "val/loss", "test/loss", "val/token_accuracy"):
        assert key in logged
    predictions = [json.loads(line) for line in (tmp_path / "predictions.jsonl").read_text().splitlines()]
    assert len(predictions) == 6
    assert all({"tconst", "question", "answer", "prediction"} <= row.keys() for row in predictions)
    answers = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert len(answers) >= 4
    assert all(row["gold"] for row in answers)


@pytest.mark.parametrize("path", RETRIEVERS, ids=name_of)
def test_retriever_runs_from_fit_to_predict(
    path: Path, tiny_encoder: Path, pairs_dir: Path, tmp_path: Path, movies: list[Movie]
) -> None:
    overlay = tmp_path / "tiny.yaml"
    overlay.write_text(
        yaml.safe_dump(
            {
                "trainer": {
                    "default_root_dir": str(tmp_path), "accelerator": "cpu", "devices": 1, "max_epochs": 1,
                    "enable_progress_bar": False, "enable_model_summary": False, "log_every_n_steps": 1,
                },
                "model": {"init_args": {"base": str(tiny_encoder)}},
                "data": {"init_args": {"data_dir": str(pairs_dir), "batch_size": 4}},
            }
        )
    )  # fmt: skip
    arguments = ["--config", str(path), "--config", str(overlay)]
    run_lightning(["fit", *arguments])
    saved = tmp_path / "checkpoints/last.ckpt"
    for command in ("validate", "test", "predict"):
        run_lightning([command, *arguments, f"--ckpt_path={saved}"])
    for folder in ("best", "last"):
        assert (tmp_path / "encoder" / folder / "modules.json").is_file(), "predict leaves the exported encoders be"
    logged: dict[str, float] = {}
    for line in (tmp_path / "metrics.jsonl").read_text().splitlines():
        logged.update(json.loads(line))
    for key in ("train/loss", "val/loss", "test/loss", "val/mrr", "test/hit@10"):
        assert key in logged
    written = tmp_path / "predictions"
    index = MovieIndex.load(written / "index", pairs_dir / "catalogue.parquet", written / "encoder")
    assert index.ids == tuple(movie.tconst for movie in movies)


@pytest.mark.parametrize("path", RETRIEVERS, ids=name_of)
def test_no_retriever_is_chosen_by_its_cosine(path: Path) -> None:
    """The published loss raises it while remakes are lost."""
    callbacks = yaml.safe_load(path.read_text(encoding="utf-8"))["trainer"]["callbacks"]
    monitors = [call["init_args"]["monitor"] for call in callbacks if "monitor" in call.get("init_args", {})]
    assert all(monitor.startswith(("val/hit@", "val/mrr", "val/ndcg@", "val/recall@")) for monitor in monitors)
    if path.stem == "question_minilm":
        assert monitors == ["val/hit@1", "val/hit@1"]  # what is kept, and when to stop


# What W&B's schema of a sweep allows (schema.json of the package wandb/sweeps, 0.3.0), as far as ours use it.
SWEEP_KEYS = {
    "program": str, "name": str, "method": str, "metric": dict, "early_terminate": dict, "run_cap": int,
    "parameters": dict, "command": list,
}  # fmt: skip
STOPPING_KEYS = {"type": str, "min_iter": int, "max_iter": int, "s": int, "eta": int, "strict": bool}


def leaves_of(value: object) -> list[object]:
    if isinstance(value, dict):
        return [leaf for part in value.values() for leaf in leaves_of(part)]
    return [leaf for part in value for leaf in leaves_of(part)] if isinstance(value, list) else [value]


@pytest.mark.parametrize("path", SWEEPS, ids=name_of)
def test_sweep_is_as_the_agent_reads_it(path: Path) -> None:
    sweep = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert {key: type(value) for key, value in sweep.items()} == {key: SWEEP_KEYS[key] for key in sweep}
    assert sweep["method"] in ("bayes", "random", "grid")
    assert sweep["metric"].keys() <= {"name", "goal"}
    assert sweep["metric"]["goal"] in ("minimize", "maximize")
    assert "fit" in sweep["command"]
    assert sweep["command"].index("${args}") > sweep["command"].index("--config")
    assert all(type(part) is str for part in sweep["command"])
    for leaf in leaves_of(sweep["parameters"]):
        assert type(leaf) in (int, float, bool, str)  # a null would be given as the text None
        if isinstance(leaf, str):
            with pytest.raises(ValueError, match="could not convert"):
                float(leaf)  # 1e-5 would be a string to PyYAML
    for space in sweep["parameters"].values():
        if "values" in space:
            assert space.keys() == {"values"}
            assert len(set(map(str, space["values"]))) == len(space["values"]) > 1
        else:
            assert space.keys() == {"distribution", "min", "max"}
            assert space["distribution"] in ("uniform", "log_uniform_values", "int_uniform")
            assert 0 <= space["min"] < space["max"]
    stop = sweep["early_terminate"]
    assert {key: type(value) for key, value in stop.items()} == {key: STOPPING_KEYS[key] for key in stop}
    assert stop["type"] == "hyperband"
    assert "min_iter" in stop or {"max_iter", "s"} <= stop.keys()


def test_a_trial_validates_often_enough_to_be_stopped() -> None:
    sweep = yaml.safe_load((ROOT / "configs/sweeps/lora.yaml").read_text(encoding="utf-8"))
    flags = dict(part.removeprefix("--").split("=", 1) for part in sweep["command"] if "=" in part)
    validations, rest = divmod(int(flags["data.init_args.limit_train"]), int(flags["trainer.val_check_interval"]))
    stop = sweep["early_terminate"]
    bands = [stop["min_iter"] * stop["eta"] ** rung for rung in range(9)]
    assert rest == 0
    assert sum(band < validations for band in bands) >= 2
    assert validations not in bands  # else whole trials would be told to stop
