"""Random chunks: their lengths are those of the histogram, and a document's own text decides where it is cut."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trained_vocabularies import fiction, script_lines

from tokenry.core.patterns import known
from tokenry.tokenization import plans
from tokenry.tokenization.chunks import (
    HISTOGRAM,
    Chopper,
    checked_histogram,
    chunk_starts,
    count_chunks,
    read_histogram,
)
from tokenry.tokenization.walls import with_walls

PLAN = plans.plan_byte_level({}, known("cl100k"), merges=True)
SPEC = {**PLAN.spec, "pre_tokenizer": with_walls(PLAN.spec["pre_tokenizer"], "lines")}


def test_the_shipped_histogram_is_normalised_without_a_word_and_others_with_a_warning():
    rows = checked_histogram(HISTOGRAM)
    assert sum(weight for _, _, weight in HISTOGRAM) == pytest.approx(1.1)
    assert sum(weight for _, _, weight in rows) == pytest.approx(1)
    with pytest.warns(UserWarning, match="sum to 2"):
        assert checked_histogram([(1, 2, 1.0), (3, 3, 1.0)])[0][2] == 0.5


def test_lengths_follow_the_histogram():
    """A million characters make about 77,000 chunks; each range's share is within 4 standard errors of its weight."""
    rows = checked_histogram(HISTOGRAM)
    starts = chunk_starts(1_000_000, rows, np.random.default_rng(0))
    lengths = np.diff(np.concatenate([[0], starts]))
    for low, high, weight in rows:
        share = ((lengths >= low) & (lengths <= high)).mean()
        assert abs(share - weight) < 4 * np.sqrt(weight * (1 - weight) / len(lengths))
        one = (lengths == low).mean()
        assert abs(one - weight / 2) < 4 * np.sqrt(weight / 2 / len(lengths))
    assert lengths.min() >= 4
    assert lengths.max() <= 23


@given(text=st.text(max_size=300), seed=st.integers(0, 5))
def test_chunks_end_to_end_are_the_text_and_never_cut_a_character(text, seed):
    chopper = Chopper(SPEC, histogram=checked_histogram(HISTOGRAM), seed=seed)
    whole = Chopper(SPEC, p=0.0)
    chunks = chopper(text)
    assert "".join(chunks) == "".join(whole(text))
    assert chopper(text) == chunks
    for chunk in chunks:
        data = bytes(_byte(c) for c in chunk)
        assert data.decode("utf-8", "surrogatepass").encode("utf-8", "surrogatepass") == data


def _byte(character: str) -> int:
    from tokenry.core.alphabets import BYTE_TO_CHAR

    return BYTE_TO_CHAR.index(character)


def test_a_space_is_a_wall_as_often_as_asked():
    """About 100,000 runs of spaces; the share of walls is within 4 standard errors of p."""
    text = " ".join(["word"] * 100_001)
    chunks = Chopper(SPEC, p=0.3)(text)
    assert abs((len(chunks) - 1) / 100_000 - 0.3) < 4 * np.sqrt(0.21 / 100_000)
    assert all(chunk.startswith("Ġ") for chunk in chunks[1:])
    assert len(Chopper(SPEC, p=1.0)("a  b c\nd")) == 5  # the line end is a wall of the pattern, before and after
    assert len(Chopper(SPEC, p=0.0)("a  b c\nd")) == 3


def test_the_table_holds_every_chunk_of_every_draw():
    texts = [*fiction(20), *script_lines()]
    chopper = Chopper(SPEC, histogram=checked_histogram(HISTOGRAM), draws=3)
    table = count_chunks(texts, chopper, {})
    assert int(table.total.sum()) == sum(len(chopper(text)) for text in texts)
    spelled = sum(len(word) * int(count) for word, count in zip(table.words, table.total, strict=True))
    assert spelled == 3 * int(table.n_bytes[0])
    assert (np.diff(table.total) <= 0).all()
    assert table.n_docs.tolist() == [len(texts)]


def test_a_histogram_is_read_from_lines_tables_and_yaml(tmp_path):
    file = tmp_path / "hist.yaml"
    file.write_text('# lengths\n4-5: 0.25\n6\t0.25\n"7 - 9": 0.5,\n', encoding="utf-8")
    assert read_histogram(file) == ((4, 5, 0.25), (6, 6, 0.25), (7, 9, 0.5))
    file.write_text("four: 1\n", encoding="utf-8")
    with pytest.raises(ValueError, match=":1:"):
        read_histogram(file)


def test_no_text_at_all_is_refused():
    with pytest.raises(ValueError, match="no text"):
        count_chunks(["", ""], Chopper(SPEC, p=0.5), {})
