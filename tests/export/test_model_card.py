"""The model card: licences, figures, and names that can't become markup."""

from pathlib import Path

import pytest
import yaml

from moviebot.errors import UserError
from moviebot.export.model_card import find_licence, read_metrics, render_card
from moviebot.pretrained import SMOLLM2


@pytest.mark.parametrize(
    ("base", "licence"),
    [
        (SMOLLM2, "apache-2.0"), ("meta-llama/Llama-2-7b-hf", "llama2"), ("/models/Llama-2-13b-chat-hf/", "llama2"),
        ("meta-llama/Llama-3.1-8B", "other"), ("evil/not-llama-2-7b", "other"),
    ],
)  # fmt: skip
def test_licence_follows_the_base(base: str, licence: str) -> None:
    assert find_licence(base)[0] == licence


def test_names_can_not_become_markup() -> None:
    hostile = "x\n---\n# <script>alert(1)</script>|`](http://bad)"
    report = {
        "made_from": {
            "base": hostile,
            "hashes": {hostile: "ab"},
            "data": True,
            "dtype": "bfloat16",
        },
        "parts": {"safetensors": {"sha256": "00", "verification": {"prompts": 3}}},
        "metrics": {hostile: 1.0},
        "machine": {"gpu": hostile},
    }
    card = render_card(report, {"safetensors": 5})
    _, head, rest = card.split("---\n", 2)
    assert list(yaml.safe_load(head)) == [
        "base_model", "license", "language", "library_name", "pipeline_tag", "tags",
    ]  # fmt: skip
    assert "<script" not in rest
    assert "](http" not in rest
    assert "\n# <" not in rest


def test_metrics_are_the_last_of_each(tmp_path: Path) -> None:
    assert read_metrics(None) == {}
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "a": 1}\n{"step": 2, "a": 2, "b": 3.5}\n{"st')
    assert read_metrics(tmp_path) == {"a": 2, "b": 3.5}
    with pytest.raises(UserError, match="is not there"):
        read_metrics(tmp_path / "nowhere")
