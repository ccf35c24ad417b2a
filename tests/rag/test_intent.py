import json
from pathlib import Path

import pytest

from moviebot.errors import UserError
from moviebot.rag.intent import INTENTS, IntentClassifier, mask_mentions, read_examples
from moviebot.rag.titles import Mention, TitleIndex
from tests.rag.conftest import sample_movies


@pytest.fixture(scope="module")
def classifier() -> IntentClassifier:
    return IntentClassifier.fit()


def test_examples_are_many_and_of_known_classes() -> None:
    examples = read_examples()
    assert len(examples) >= 300
    assert {label for _, label in examples} == {*INTENTS, "describe"}
    assert not any("<movie>" in text for text, _ in examples)


@pytest.mark.parametrize(
    ("query", "intent"),
    [
        ("who directed thatmovie?", "question"),
        ("can you tell me how long thatmovie is", "question"),
        ("I'm looking for a drama", "recommend"),  # neither "recommend" nor "similar" is in it
        ("I loved thatmovie. What else should I watch?", "recommend"),
        ("movies like thatmovie", "recommend"),
        ("hello there", "other"),
        ("thank you very much", "other"),
        ("what's the weather like", "other"),
    ],
)
def test_classifies(classifier: IntentClassifier, query: str, intent: str) -> None:
    [guess] = classifier.classify([query])
    assert guess.intent == intent
    assert 0 < guess.score <= 1


def test_a_plot_without_a_title_is_a_question_that_describes(classifier: IntentClassifier) -> None:
    [guess] = classifier.classify(["A young thief and an old judge are locked in a castle until they make peace."])
    assert guess.intent == "question"
    assert guess.is_description


def test_saved_weights_give_the_same_guesses(classifier: IntentClassifier, tmp_path: Path) -> None:
    classifier.save(tmp_path / "intent.npz")
    again = IntentClassifier.load(tmp_path / "intent.npz")
    texts = [text for text, _ in read_examples()[:50]]
    assert again.classify(texts) == classifier.classify(texts)


def test_damaged_weights_are_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "intent.npz").write_bytes(b"no weights")
    with pytest.raises(UserError, match="moviebot bundle"):
        IntentClassifier.load(tmp_path / "intent.npz")


def test_masks_only_likely_titles() -> None:
    mentions = [Mention(0, 4, (0,), 0.9), Mention(9, 11, (1,), 0.4)]
    assert mask_mentions("Jaws and up", mentions) == "thatmovie and up"


def test_dev_set_when_present() -> None:
    path = Path(__file__).resolve().parents[3] / "shared" / "data" / "questions" / "intents_dev.jsonl"
    if not path.is_file():
        pytest.skip("the shared data is absent")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    guesses = IntentClassifier.fit().classify([row["query"] for row in rows])  # titles unmasked, no encoder: the floor
    right = sum(guess.intent == row["intent"] for guess, row in zip(guesses, rows, strict=True))
    assert right / len(rows) > 0.85


def test_wordings_unlike_the_examples(classifier: IntentClassifier) -> None:
    lines = Path(__file__).with_name("intent_wordings.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert len(rows) == 100
    assert not {row["query"].lower() for row in rows} & {text.lower() for text, _ in read_examples()}
    titles = TitleIndex(sample_movies())
    masked = [mask_mentions(row["query"], titles.find_mentions(row["query"])) for row in rows]
    right = sum(guess.intent == row["intent"] for guess, row in zip(classifier.classify(masked), rows, strict=True))
    assert right >= 75  # without an encoder; with the demo's .87
