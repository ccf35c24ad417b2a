"""The plots are written whole, from what the runs logged."""

import json
from pathlib import Path

from PIL import Image

from moviebot.evaluation.plots import plot_hits, plot_losses


def test_losses_of_every_run_are_plotted(tmp_path: Path) -> None:
    for name in ("llm", "question"):
        rows = [{"step": step, "train/loss": 3.0 / (step + 1)} for step in range(5)] + [{"step": 4, "val/loss": 1.0}]
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert plot_losses(tmp_path, tmp_path / "loss.png")
    with Image.open(tmp_path / "loss.png") as image:
        assert image.width > 1000  # two panels side by side


def test_no_run_no_plot(tmp_path: Path) -> None:
    assert not plot_losses(tmp_path, tmp_path / "loss.png")
    assert not (tmp_path / "loss.png").exists()


def test_hit_curves(tmp_path: Path) -> None:
    plot_hits({"ours": [0.1, 0.5], "popularity": [0.0, 0.1]}, tmp_path / "hits.png")
    with Image.open(tmp_path / "hits.png") as image:
        colours = image.convert("RGB").getcolors(maxcolors=1 << 20) or []
    assert len(colours) > 20  # lines, not an empty frame
