"""A search through int8 codes finds what a plain float32 product finds, whatever the vectors are like."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from moviebot.errors import UserError
from moviebot.modules import index as index_module
from moviebot.modules.index import PLAIN_ROWS, MovieIndex
from moviebot.modules.int8_codes import HEAD, Int8Codes

ROWS, WIDTH = PLAIN_ROWS + 1003, 256  # no multiple of a block


def normalise(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    length: NDArray[np.float32] = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / length


def draw_clustered(rng: np.random.Generator) -> NDArray[np.float32]:
    centres = rng.normal(size=(500, WIDTH)) * np.geomspace(1, 0.05, WIDTH)
    noise = rng.normal(size=(ROWS, WIDTH)) * np.geomspace(0.3, 0.02, WIDTH)
    return normalise((centres[rng.integers(500, size=ROWS)] + noise).astype(np.float32))


def draw_isotropic(rng: np.random.Generator) -> NDArray[np.float32]:
    """No axis is longer than another and no two vectors are near: the bounds spare hardly any work."""
    return normalise(rng.normal(size=(ROWS, WIDTH)).astype(np.float32))


def draw_repeated(rng: np.random.Generator) -> NDArray[np.float32]:
    """Nine vectors thousands of times each: more ties than there is room for at first."""
    return np.tile(draw_isotropic(rng)[:9], (ROWS // 9 + 1, 1))[:ROWS]


def with_codes(vectors: NDArray[np.float32]) -> MovieIndex:
    names = tuple(f"tt{row}" for row in range(len(vectors)))
    return MovieIndex(names, vectors, "catalogue", "encoder", codes=Int8Codes.quantise(vectors))


@pytest.mark.parametrize("draw", [draw_clustered, draw_isotropic, draw_repeated])
def test_finds_what_a_plain_product_finds(draw: Callable[[np.random.Generator], NDArray[np.float32]]) -> None:
    rng = np.random.default_rng(0)
    vectors = draw(rng)
    near = normalise(vectors[::500] + 0.05 * rng.normal(size=vectors[::500].shape).astype(np.float32))
    queries = np.concatenate([near, draw_isotropic(rng)[:1], vectors[-1:]])  # near some, near none, the last itself
    index, similarity = with_codes(vectors), queries @ vectors.T
    for k, few in ((1, 1), (20, 1), (20, 7), (100, 104)):
        rows, cosines = index.search_rows(queries[:few], k)
        assert rows.shape == cosines.shape == (few, k)
        np.testing.assert_allclose(cosines, -np.sort(-similarity[:few], axis=1)[:, :k], atol=1e-6)
        np.testing.assert_allclose(np.take_along_axis(similarity[:few], rows, axis=1), cosines, atol=1e-6)
        assert all(len(set(line)) == k for line in rows.tolist())


def test_ties_keep_the_order_of_rows() -> None:
    vectors = draw_repeated(np.random.default_rng(0))
    found, scores = with_codes(vectors).search(vectors[4:5], 3, exclude=["tt13"])
    assert found == [["tt4", "tt22", "tt31"]]
    assert scores[0] == pytest.approx([1, 1, 1], abs=1e-6)


def test_all_rows_can_be_asked_for() -> None:
    vectors = draw_clustered(np.random.default_rng(0))[:9001]
    rows, _ = with_codes(vectors).search_rows(vectors[:1], 10_000)
    assert sorted(rows[0].tolist()) == list(range(9001))


def test_bounds_hold_for_every_row() -> None:
    rng = np.random.default_rng(0)
    vectors, query = draw_clustered(rng), draw_isotropic(rng)[0]
    codes = Int8Codes.quantise(vectors)
    rotated = query @ codes.rotation
    head_scale, tail_scale, tail_norm, error = codes.facts
    from_head = (codes.head @ rotated[:HEAD]) * head_scale
    decoded = from_head + (codes.tail @ rotated[HEAD:]) * tail_scale
    exact = vectors @ query
    assert (np.abs(decoded - exact) <= error).all()
    assert (np.abs(from_head - exact) <= error + tail_norm * np.linalg.norm(rotated[HEAD:])).all()
    assert error.max() < 0.02, "the codes are worth having"
    np.testing.assert_allclose(codes.rotation.T @ codes.rotation, np.eye(WIDTH), atol=1e-5)


def test_wide_queries_do_not_overflow() -> None:
    """The largest sum of products there can be, at the width of a large encoder: more than 32 bits hold."""
    width = 4096
    vectors = np.full((PLAIN_ROWS + 1, width), -1 / width**0.5, np.float32)
    vectors[7] *= -1
    whole = np.sign(vectors).astype(np.int8) * np.int8(127)
    unit = 1 / 127 / width**0.5
    facts = np.array([unit, unit, (1 - HEAD / width) ** 0.5, 1e-4], np.float32)
    codes = Int8Codes(
        whole[:, :HEAD], whole[:, HEAD:], np.tile(facts[:, None], len(vectors)), np.eye(width, dtype=np.float32)
    )
    (found,) = codes.find_candidates(vectors[7:8], 1)
    assert found.tolist() == [7]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("codes") / "index"
    vectors = draw_clustered(np.random.default_rng(0))
    MovieIndex(tuple(f"tt{row}" for row in range(ROWS)), vectors, "catalogue", "encoder").save(folder)
    return folder


def test_saved_codes_answer_from_disk(saved: Path) -> None:
    index = MovieIndex.load(saved)
    assert index.codes is not None
    assert isinstance(index.codes.head, np.memmap)
    vectors = np.load(saved / "embeddings.npy")
    rows, _ = index.search_rows(vectors[:70], 20)
    np.testing.assert_array_equal(rows, np.argsort(-(vectors[:70] @ vectors.T), axis=1, kind="stable")[:, :20])


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_float_rows_do_not_stay_in_memory(saved: Path) -> None:
    index = MovieIndex.load(saved)
    queries = np.load(saved / "embeddings.npy")[::100]
    index.search_rows(queries, 20)
    assert measure_resident(saved / "head.npy") >= ROWS * HEAD // 1024, "the codes are read"
    assert measure_resident(saved / "embeddings.npy") == 0
    assert np.asarray(index.vectors[::1000]).any()
    assert measure_resident(saved / "embeddings.npy") > 0, "the measure sees rows that were read"


def measure_resident(file: Path) -> int:
    """Return how many KiB of a file are mapped into this process's memory."""
    resident, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split(" ", 1)[0]:
            inside = line.endswith(str(file))
        elif inside and line.startswith("Rss:"):
            resident += int(line.split()[1])
    return resident


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("head.npy", lambda path: path.write_bytes(path.read_bytes()[:-5])),
        ("tail.npy", lambda path: path.unlink()),
        ("facts.npy", lambda path: path.write_bytes(b"")),
        ("rotation.npy", lambda path: np.save(path, np.eye(3, dtype=np.float32))),
        ("tail.npy", lambda path: np.save(path, np.load(path).astype(np.int16))),
    ],
)
def test_damaged_codes_are_refused(saved: Path, tmp_path: Path, name: str, damage: Callable[[Path], None]) -> None:
    for file in saved.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    damage(tmp_path / name)
    with pytest.raises(UserError, match=r"holds no whole index \(.*\): build it again with `moviebot bundle`"):
        MovieIndex.load(tmp_path)


def test_codes_of_other_vectors_are_refused(saved: Path, tmp_path: Path) -> None:
    for file in saved.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    Int8Codes.quantise(np.load(saved / "embeddings.npy")[:-1]).save(tmp_path)
    with pytest.raises(UserError, match=rf"codes of shape \({ROWS - 1}, {WIDTH}\) for vectors of"):
        MovieIndex.load(tmp_path)


def test_small_catalogues_have_no_codes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = draw_clustered(np.random.default_rng(0))[:PLAIN_ROWS]
    MovieIndex(tuple(f"tt{row}" for row in range(PLAIN_ROWS)), vectors, "", "").save(tmp_path / "index")
    assert {file.name for file in (tmp_path / "index").iterdir()} == {"embeddings.npy", "index.json"}
    assert MovieIndex.load(tmp_path / "index").codes is None
    monkeypatch.setattr(index_module, "PLAIN_ROWS", 10)  # as a later version might: it says what to do
    with pytest.raises(UserError, match="holds no whole index"):
        MovieIndex.load(tmp_path / "index")
