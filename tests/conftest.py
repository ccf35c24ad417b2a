"""Fixtures that several test files share: a few movies, and small models built from a config."""

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("WANDB_SILENT", "true")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from moviebot.artefact import write_jsonl
from moviebot.data.documents import movie_text
from moviebot.data.schemas import PAIR_SCHEMA, TOPICS, Movie, write_catalogue
from moviebot.data.template_teacher import facts_of

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
            description=f"In {title}, story number {number} unfolds. A {genres[0].lower()} tale follows its people.",
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


@pytest.fixture(scope="session")
def pairs_dir(tmp_path_factory: pytest.TempPathFactory, movies: list[Movie]) -> Path:
    """A data folder with the catalogue and both pairs artefacts: movies 1-8 train, 9-10 validate, 11-12 test.

    A movie has three questions, each with one random negative, and is recommended its two successors.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from moviebot.data.documents import movie_text
    from moviebot.data.schemas import PAIR_SCHEMA, write_catalogue

    folder = tmp_path_factory.mktemp("pairs")
    write_catalogue(folder / "catalogue.parquet", movies)
    questions, recommendations = [], []
    for row, movie in enumerate(movies):
        split = "train" if row < 8 else "val" if row < 10 else "test"
        first, last = {"train": (0, 8), "val": (8, 10), "test": (10, 12)}[split]
        after, later, last_of = (movies[first + (row - first + step) % (last - first)] for step in (1, 2, 3))
        for wording in ("who directed {}?", "how long is {}", "What year did {} come out?"):
            for label, other in ((1, movie), (0, after)):
                anchor = wording.format(movie.label)
                questions.append((anchor, other.label, label, movie.tconst, other.tconst, split))
        for label, other in ((1, after), (1, later), (0, last_of)):
            if other not in (movie, after if label == 0 else None):
                anchor = movie_text(movie)
                recommendations.append((anchor, movie_text(other), label, movie.tconst, other.tconst, split))
    for task, rows in (("question", questions), ("recommend", recommendations)):
        columns = [list(column) for column in zip(*rows, strict=True)]
        arrays = [pa.array(column, field.type) for column, field in zip(columns, PAIR_SCHEMA, strict=True)]
        table = pa.Table.from_arrays(arrays, schema=PAIR_SCHEMA)
        pq.write_table(table, folder / f"{task}_pairs.parquet")
    return folder


@pytest.fixture(scope="session")
def qa_data_dir(tmp_path_factory: pytest.TempPathFactory, movies: list[Movie]) -> Path:
    """A folder with the artefacts a language model is trained from: movies 1-8 train, 9-10 validate, 11-12 test."""
    folder = tmp_path_factory.mktemp("qa_data")
    split_of = {movie.tconst: "train" if n < 8 else "val" if n < 10 else "test" for n, movie in enumerate(movies)}
    train = [tconst for tconst, split in split_of.items() if split == "train"]
    write_catalogue(folder / "catalogue.parquet", movies)
    rows = [
        {"tconst": movie.tconst, "question": question, "answer": answer, "source": "test", "topic": topic}
        for movie in movies
        for topic, question, answer in (
            ("genre", f"What kind of film is {movie.label}?", f"It is a {movie.genres[0]}."),
            ("rating", f"How is {movie.label} rated?", f"It is rated {movie.rating}."),
            ("unanswerable", f"What did {movie.label} cost?", "I don't know: the facts don't say."),
        )
    ]
    write_jsonl(folder / "qa.jsonl", [{**row, "split": split_of[str(row["tconst"])]} for row in rows])
    lists = [
        {
            "tconst": movie.tconst,
            "recommended": [tconst for tconst in train if tconst != movie.tconst][:4],
            "source": "test",
            "split": split_of[movie.tconst],
        }
        for movie in movies
    ]
    write_jsonl(folder / "recommendations.jsonl", lists)
    return folder


@pytest.fixture(scope="session")
def bundle_folder(
    tmp_path_factory: pytest.TempPathFactory, movies: list[Movie], tiny_encoder: Path, tiny_llama: Path
) -> Path:
    """A whole bundle of the twelve movies on disk, its models tiny and random; tests that change it copy it first."""
    from moviebot.rag.bundle import build_bundle

    data = tmp_path_factory.mktemp("data")
    write_catalogue(data / "catalogue.parquet", movies)
    out = tmp_path_factory.mktemp("bundles") / "bundle"
    build_bundle(data, tiny_encoder, tiny_encoder, str(tiny_llama), out)
    return out


@pytest.fixture
def evaluation_data(tmp_path: Path, movies: list[Movie]) -> Path:
    """Two questions of each topic about four test movies, and one about a train movie that must not be asked."""
    rows = []
    for movie in movies[2:6]:
        for topic in TOPICS:
            facts = ", ".join(facts_of(movie, topic)) or "I don't know."
            question = f"What is the {topic} of {movie.title}?"
            rows.append({"tconst": movie.tconst, "question": question, "answer": facts, "topic": topic})
    rows = [{**row, "source": "test", "split": "test"} for row in rows]
    rows.append({**rows[0], "tconst": movies[0].tconst, "question": "a train question", "split": "train"})
    write_jsonl(tmp_path / "qa.jsonl", rows)
    lists = [
        {"tconst": movie.tconst, "recommended": [movies[8].tconst, movies[9].tconst], "source": "t", "split": "test"}
        for movie in movies[2:6]
    ]
    write_jsonl(tmp_path / "recommendations.jsonl", lists)
    for name, text in (("question_pairs", lambda movie: movie.label), ("recommend_pairs", movie_text)):
        pairs = [
            {
                "anchor": text(movies[row]), "sample": text(movies[row if label else row + 1]), "label": label,
                "tconst_anchor": "a", "tconst_sample": "b", "split": "test",
            }
            for row in range(2, 6) for label in (1, 0)
        ]  # fmt: skip
        pq.write_table(pa.Table.from_pylist(pairs, schema=PAIR_SCHEMA), tmp_path / f"{name}.parquet")
    return tmp_path
