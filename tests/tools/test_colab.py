"""``tools/colab_v100.sh`` without a GPU: its dry runs, and a whole run with stand-ins for Python and the GPU."""

import os
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

from moviebot.training import run_lightning

REPO = Path(__file__).resolve().parents[2]
SCRIPT = REPO / "tools" / "colab_v100.sh"
LLAMA = "meta-llama/Llama-2-7b-hf"
COLAB_TORCH = "2.11.0+cu128"  # Colab's own, in 2026


class Run(NamedTuple):
    code: int
    out: str
    err: str

    def commands(self) -> list[list[str]]:
        """The commands that were shown, split into words."""
        return [shlex.split(line[2:]) for line in self.out.splitlines() if line.startswith("+ ")]

    def fit(self) -> list[str]:
        """The words after ``moviebot fit`` in the last command."""
        last = self.commands()[-1]
        assert last[last.index("-m") :][:3] == ["-m", "moviebot", "fit"]
        return last[last.index("fit") + 1 :]


class Colab:
    """Runs the script with a home of its own, and no token, login or GPU but those given."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.env = {"HOME": str(home), "PATH": os.environ["PATH"], "PYTHON": sys.executable, "LC_ALL": "C"}
        self.out = home / "out"

    def run(self, *arguments: str, **env: str) -> Run:
        command = ["bash", str(SCRIPT), "--out", str(self.out), *arguments]
        done = subprocess.run(command, env={**self.env, **env}, cwd=self.home, capture_output=True, text=True)
        return Run(done.returncode, done.stdout, done.stderr)

    def dry_run(self, *arguments: str, gpu: str = "Tesla T4, 7.5, 15360", **env: str) -> Run:
        name, capability, memory = gpu.split(", ")
        given = {"COLAB_GPU_NAME": name, "COLAB_GPU_CAPABILITY": capability, "COLAB_GPU_MEMORY_MB": memory}
        return self.run("--dry_run", *arguments, **{"COLAB_TORCH_VERSION": COLAB_TORCH, **given, **env})


@pytest.fixture
def colab(tmp_path: Path) -> Colab:
    return Colab(tmp_path)


def test_shellcheck_finds_nothing() -> None:
    shellcheck = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if shellcheck is None:
        pytest.skip("shellcheck is not installed")
    done = subprocess.run([shellcheck, SCRIPT], capture_output=True, text=True)
    assert done.stdout == ""
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("gpu", "overlay", "flags"),
    [
        ("Tesla V100-SXM2-16GB, 7.0, 16384", "v100", []),
        ("Tesla T4, 7.5, 15360", "t4", []),
        ("NVIDIA A100-SXM4-40GB, 8.0, 40960", "a100", []),
        ("NVIDIA A100-SXM4-80GB, 8.0, 81920", "a100", []),
        ("NVIDIA A100-SXM4-40GB MIG 3g.20gb, 8.0, 20096", "v100", ["--trainer.precision=bf16-mixed"]),
        ("NVIDIA L4, 8.9, 23034", "v100", ["--trainer.precision=bf16-mixed"]),
        ("NVIDIA H100 80GB HBM3, 9.0, 81559", "h100", []),
        ("NVIDIA H200, 9.0, 143771", "h100", []),
        ("Quadro RTX 5000, 7.5, 16384", "t4", []),
        ("NVIDIA TITAN V, 7.0, 12288", "v100", []),
        ("NVIDIA L40S, 8.9, 46068", "a100", []),
        ("NVIDIA GeForce RTX 3060, 8.6, 12288", "t4", ["--trainer.precision=bf16-mixed"]),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition, 12.0, 97887", "h100", []),
    ],
)
def test_overlay_of_each_gpu(colab: Colab, gpu: str, overlay: str, flags: list[str]) -> None:
    run = colab.dry_run(gpu=gpu)
    assert run.code == 0, run.err
    llm, hardware = REPO / "configs/llm/llama2_7b_qlora.yaml", REPO / f"configs/hardware/{overlay}.yaml"
    rest = [f"--trainer.default_root_dir={colab.out}", f"--data.init_args.data_dir={colab.out}/data"]
    assert run.fit() == ["--config", str(llm), "--config", str(hardware), *flags, *rest]
    assert not colab.out.exists(), "a dry run writes nothing"
    assert not (colab.home / ".cache").exists()


def test_v100_takes_torch_for_cuda_126_into_an_environment_of_its_own(colab: Colab) -> None:
    commands = colab.dry_run(gpu="Tesla V100-SXM2-16GB, 7.0, 16384").commands()
    venv = next(words for words in commands if "venv" in words)
    assert "--system-site-packages" not in venv
    torch = next(words for words in commands if "--index-url" in words)
    assert torch[torch.index("--index-url") + 1 :] == ["https://download.pytorch.org/whl/cu126", "torch>=2.7,<2.15"]
    assert commands.index(torch) < next(i for i, words in enumerate(commands) if "--editable" in words)


def test_t4_keeps_colabs_torch(colab: Colab) -> None:
    commands = colab.dry_run().commands()
    assert "--system-site-packages" in next(words for words in commands if "venv" in words)
    assert not any("--index-url" in words for words in commands)
    assert any(words[-2] == "2.11.0" and "torch==" in words[2] for words in commands if words[0] == "bash")


def test_no_gpu(colab: Colab) -> None:
    run = colab.run("--dry_run", PATH=path_without("nvidia-smi", colab.home))
    assert (run.code, run.out) == (2, "")
    assert run.err.startswith("colab: no GPU found: in Colab choose Runtime")
    assert run.err.count("\n") == 1


def test_unreadable_gpu_and_old_gpu(colab: Colab) -> None:
    run = colab.run("--dry_run", COLAB_GPU_NAME="Tesla T4")
    assert run.code == 2
    assert "can't be read from 'Tesla T4, , '" in run.err
    run = colab.dry_run(gpu="Tesla K80, 3.7, 11441")
    assert run.code == 2
    assert "too old" in run.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dryrun"], "--dryrun is no flag: allowed are --help, --dry_run, --data, --out, --config"),
        (["catalogue"], "catalogue is no flag"),
        (["--data"], "--data needs a value"),
        (["--trainer.max_steps", "--dry_run"], "--trainer.max_steps needs a value"),
        (["--config", "nope.yaml"], "--config nope.yaml: no such file"),
    ],
)
def test_a_bad_flag_is_one_line(colab: Colab, arguments: list[str], message: str) -> None:
    run = colab.dry_run(*arguments)
    assert (run.code, run.out) == (2, "")
    assert run.err.startswith(f"colab: {message}")
    assert run.err.count("\n") == 1


def test_help(colab: Colab) -> None:
    run = colab.run("--help")
    assert run.code == 0
    assert "--dry_run" in run.out


def test_missing_token_is_named_with_what_to_do(colab: Colab) -> None:
    lines = colab.dry_run().err.splitlines()
    assert lines[0].startswith(f"colab: no Hugging Face token is set, and {LLAMA} may be gated")
    assert f"https://huggingface.co/{LLAMA}" in lines[1]
    assert 'os.environ["HF_TOKEN"] = userdata.get("HF_TOKEN")' in lines[3]
    assert "Hugging Face" not in colab.dry_run(HF_TOKEN="hf_x").err
    stored = colab.home / ".cache/huggingface/token"
    stored.parent.mkdir(parents=True)
    stored.write_text("hf_y\n")
    assert "Hugging Face" not in colab.dry_run().err


def write_checkpoint(path: Path, time: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.pkl", b"x" * 1000)
    os.utime(path, (time, time))
    return path


def test_resumes_from_the_newest_whole_checkpoint(colab: Colab) -> None:
    assert not any("ckpt" in word for word in colab.dry_run().fit())
    write_checkpoint(colab.out / "old" / "checkpoints" / "last.ckpt", 1000)
    newest = write_checkpoint(colab.out / "checkpoints" / "last.ckpt", 2000)
    cut = write_checkpoint(colab.out / "cut" / "last.ckpt", 3000)
    cut.write_bytes(cut.read_bytes()[:500])
    run = colab.dry_run()
    assert run.fit()[-1] == f"--ckpt_path={newest}"
    assert f"{cut} is cut short" in run.err
    assert colab.dry_run("--ckpt_path", "mine.ckpt").fit()[-1] == "--ckpt_path=mine.ckpt"
    (colab.out / "hardware.txt").write_text("another.yaml ")
    assert "warning: the run began with another.yaml" in colab.dry_run().err


def test_data_are_built_from_the_sample_only_where_missing(colab: Colab) -> None:
    def stages(run: Run) -> list[str]:
        return [words[words.index("moviebot") + 1] for words in run.commands() if "moviebot" in words]

    data = colab.home / "my data"
    run = colab.dry_run("--data", "my data")
    assert stages(run) == ["catalogue", "teach", "clean", "fit"]
    assert f"no catalogue in {data}: building it from the embedded sample" in run.err
    assert f"--data.init_args.data_dir={data}" in run.fit()
    data.mkdir()
    (data / "catalogue.parquet").touch()
    assert stages(colab.dry_run("--data=my data")) == ["teach", "clean", "fit"], "a person's own catalogue stays"
    (data / "qa.jsonl").touch()
    (data / "recommendations.jsonl").touch()
    assert stages(colab.dry_run("--data", str(data))) == ["fit"]


def test_drive_is_not_mounted_by_itself(colab: Colab) -> None:
    run = colab.dry_run("--out", "/content/drive/MyDrive/moviebot")
    assert 'from google.colab import drive; drive.mount("/content/drive")' in run.err
    assert "--trainer.default_root_dir=/content/drive/MyDrive/moviebot" in run.fit()


def test_wandb_only_where_logged_in(colab: Colab) -> None:
    assert "WANDB_MODE=offline" in colab.dry_run().commands()[-1]
    assert "WANDB_MODE=offline" not in colab.dry_run(WANDB_API_KEY="k").commands()[-1]
    assert "WANDB_MODE=offline" not in colab.dry_run(WANDB_MODE="disabled").commands()[-1]
    (colab.home / ".netrc").write_text("machine api.wandb.ai login user password k\n")
    assert "WANDB_MODE=offline" not in colab.dry_run().commands()[-1]


# Lightning 2.6's CLI calls a function of jsonargparse 4.53 that is on its way out (ArgumentParser.add_instantiator).
@pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning")
@pytest.mark.parametrize(
    "gpu", ["Tesla V100-SXM2-16GB, 7.0, 16384", "NVIDIA L4, 8.9, 23034", "NVIDIA H200, 9.0, 143771"]
)
def test_the_fit_command_parses_and_instantiates(colab: Colab, gpu: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["moviebot"])  # Lightning warns of pytest's own arguments beside `args`
    words = colab.dry_run("--trainer.max_steps", "7", "--model.init_args.lr=0.0001", gpu=gpu).fit()
    no_gpu_here = ["--trainer.accelerator=cpu", "--trainer.precision=32-true", "--trainer.logger=false"]
    cli = run_lightning([*words, *no_gpu_here], run=False)
    assert cli.trainer.max_steps == 7
    assert cli.trainer.default_root_dir == str(colab.out)
    assert cli.model.hparams["base"] == LLAMA
    assert cli.model.hparams["lr"] == 0.0001
    data = cli.config["data"]["init_args"]
    assert str(data["data_dir"]) == f"{colab.out}/data"
    assert data["batch_size"] * cli.trainer.accumulate_grad_batches == 8, "the published batch, on every GPU"


def test_another_config_and_one_over_the_hardware(colab: Colab) -> None:
    mine = colab.home / "mine.yaml"
    mine.write_text("trainer:\n  max_steps: 3\n")
    words = colab.dry_run("--config", "configs/llm/smollm2_135m_qlora.yaml", "--config=mine.yaml").fit()
    configs = [Path(words[i + 1]).name for i, word in enumerate(words) if word == "--config"]
    assert configs == ["smollm2_135m_qlora.yaml", "t4.yaml", "mine.yaml"]


STAND_IN = r"""#!/bin/bash
# Stands in for the runtime's Python, and for the environment's that it makes.
echo "$@" >>"$LOG"
case "$*" in
  *"-m venv"*) mkdir -p "${!#}/bin" && ln -s "$0" "${!#}/bin/python" ;;
  *colab_check.py\ torch*) printf 'keep\n2.11.0+cu128\n' ;;
  *colab_check.py\ checkpoint*) echo "$CHECKPOINT" ;;
  *colab_access.py*) [[ -z ${REFUSED-} ]] || { echo "colab: refused" >&2; exit 2; } ;;
  *"moviebot fit"*) exit "${FIT_CODE-0}" ;;
esac
"""


def path_without(program: str, folder: Path) -> str:
    """A PATH on which a program of this machine is not found."""
    shadow = folder / "empty_path"
    shadow.mkdir(exist_ok=True)
    for name in ("bash", "dirname", "realpath", "cat"):
        found = shutil.which(name)
        assert found
        if not (shadow / name).exists():
            (shadow / name).symlink_to(found)
    assert not (shadow / program).exists()
    return str(shadow)


def test_whole_run_and_rerun(colab: Colab) -> None:
    programs = colab.home / "programs"
    programs.mkdir()
    for name, text in {"stand_in": STAND_IN, "nvidia-smi": "#!/bin/sh\necho 'Tesla T4, 7.5, 15360'\n"}.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    log = colab.home / "log"
    env = {
        "PYTHON": str(programs / "stand_in"), "PATH": f"{programs}:{os.environ['PATH']}", "LOG": str(log),
        "CHECKPOINT": "",
    }  # fmt: skip
    refused = colab.run(**env, REFUSED="1")
    assert (refused.code, refused.err) == (2, "colab: refused\n")
    assert "-m venv" not in log.read_text(), "access is asked before anything is installed"

    log.unlink()
    first = colab.run(**env)
    assert first.code == 0, first.err
    order = ["colab_access.py", "colab_check.py torch", "-m venv", "-m pip", "colab_check.py gpu", "moviebot catalogue"]
    order += ["moviebot teach", "moviebot clean", "moviebot fit"]
    text = log.read_text()
    places = [text.index(step) for step in order]
    assert places == sorted(places)
    constraints = (colab.home / ".cache/moviebot/colab_venv/constraints.txt").read_text().splitlines()
    assert [line for line in constraints if line.startswith("torch==")] == ["torch==2.11.0"]
    assert any(line.startswith("torchmetrics==") for line in constraints)
    assert not any(line.startswith("setuptools==") for line in constraints)

    log.unlink()
    colab.out.mkdir(exist_ok=True)
    second = colab.run(**{**env, "CHECKPOINT": "/x/last.ckpt", "FIT_CODE": "130"})
    assert second.code == 130, "the training's exit code is the script's"
    assert second.err.count("\n") == 1, second.err  # only that the data are built again: the stand-in wrote none
    assert "-m venv" not in log.read_text()
    assert "-m pip" not in log.read_text()
    assert second.fit()[-1] == "--ckpt_path=/x/last.ckpt"
