"""Fixtures that several test files share: a few movies, and small models built from a config, with real file formats."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("WANDB_SILENT", "true")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from moviebot.data.schemas import Movie

SHARED_DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
"""Real data for measuring; tests that use it skip where it is absent."""


@pytest.fixture(scope="session")
def movies() -> list[Movie]:
    """Twelve movies with all facts but where a test needs one absent; two share a title."""
    rows: list[tuple[str, int | None, int | None, tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = [
        ("The Red Lantern", 1931, 88, ("Drama",), ("Ada Holm",), ("Per Lind", "Eva Dahl")),
        ("The Red Lantern", 1987, 112, ("Drama", "Romance"), ("Jun Mori",), ("Aki Sato", "Rei Ono")),
        ("Harbour Lights", 1954, 97, ("Crime", "Thriller"), ("Ida Crane",), ("Tom Vale", "Nan Reed")),
        ("Night Ferry", 1962, 104, ("Crime",), ("Ida Crane",), ("Tom Vale", "Lou Hart")),
        ("The Clockmaker's Son", 1978, 121, ("Fantasy", "Family"), ("Otto Brandt",), ("Max Keller", "Ute Frey")),
        ("Paper Moons of Mars", 1999, 131, ("Sci-Fi", "Adventure"), ("Lena Ortiz",), ("Raul Vega", "Ines Paz")),
        ("Return to Paper Moons", 2003, 128, ("Sci-Fi", "Adventure"), ("Lena Ortiz",), ("Raul Vega", "Mia Sol")),
        ("Salt and Thunder", 2008, 143, ("Action", "War"), ("Kofi Mensah",), ("Ama Boateng", "Yaw Darko")),
        ("A Small Orchestra", 2011, 95, ("Comedy", "Music"), ("Claire Petit", "Paul Roux"), ("Anne Blanc",)),
        ("Winter Wheat", 2014, 117, ("Drama",), ("Olga Sidorova",), ("Ivan Petrov", "Vera Orlova")),
        ("The Last Beekeeper", 2017, None, ("Documentary",), ("Hana Novak",), ()),
        ("Unfinished Maps", None, 84, ("Mystery",), (), ("Joao Silva",)),
    ]
    return [
        Movie(
            tconst=f"tt{number:07d}",
            title=title,
            original_title=title,
            year=year,
            runtime_minutes=runtime,
            genres=genres,
            rating=round(6.0 + number / 5, 1),
            votes=1000 * number,
            directors=directors,
            cast=cast,
            description=f"In {title}, story number {number} unfolds. A {genres[0].lower()} tale follows its people home.",
            description_source="test",
            akas=(f"{title} aka",),
        )
        for number, (title, year, runtime, genres, directors, cast) in enumerate(rows, start=1)
    ]


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a 2-layer Llama of random weights and a tokenizer of one id a byte (ids are read by eye)."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("tiny_llama")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<s>": 0, "</s>": 1, "<pad>": 2} | {char: n for n, char in enumerate(alphabet, start=3)}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", pad_token="<pad>", model_max_length=2048
    )
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=320, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=2048, bos_token_id=0, eos_token_id=1, pad_token_id=2,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentence-transformers folder with a 2-layer BERT of random weights over single letters, mean pooling."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    source = tmp_path_factory.mktemp("tiny_bert")
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,:;!?()'-"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    vocabulary = source / "vocab.txt"
    vocabulary.write_text("\n".join(words))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=256,
    )  # fmt: skip
    BertModel(config).save_pretrained(source)
    BertTokenizerFast(str(vocabulary)).save_pretrained(source)
    transformer = Transformer(str(source), max_seq_length=128)
    folder = tmp_path_factory.mktemp("tiny_encoder")
    SentenceTransformer(modules=[transformer, Pooling(32)]).save(str(folder))
    return folder
