"""RedPajama-V2's signals: the golden values of the official code, and a plain twin of every definition."""

import itertools
import math
import re
import string
import unicodedata
from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from signal_worlds import TEXTS, A, B, agree, batch_of, scored

from tokenry.corpora.families import Material, Settings
from tokenry.corpora.signals import families_of, score_batch
from tokenry.corpora.word_lists import Phrases, hashes_of

# The words of stopwords-json's English list that stand in A and B: it has single letters, and is lower case.
STOP_WORDS = ("on", "the", "one", "with", "x", "is", "here", "and")

GOLDEN_A = {
    "doc_num_sentences": 5, "doc_word_count": 31, "doc_mean_word_length": 3.83870968,
    "doc_symbol_to_word_ratio": 0.02702703, "doc_frac_lines_end_with_ellipsis": 0.16666667,
    "doc_frac_no_alph_words": 0.21621622, "doc_frac_unique_words": 0.74193548, "doc_unigram_entropy": 3.03151465,
    "doc_frac_all_caps_words": 0, "doc_curly_bracket": 0.01273885, "doc_lorem_ipsum": 0.00671141,
    "doc_stop_word_fraction": 0.24324324, "doc_frac_chars_top_2gram": 0.10084034,
    "doc_frac_chars_top_3gram": 0.1512605, "doc_frac_chars_top_4gram": 0.18487395,
    "doc_frac_chars_dupe_5grams": 0.28571429, "doc_frac_chars_dupe_6grams": 0.28571429,
    "doc_frac_chars_dupe_7grams": 0, "doc_frac_chars_dupe_8grams": 0, "doc_frac_chars_dupe_9grams": 0,
    "doc_frac_chars_dupe_10grams": 0,
}  # fmt: skip
GOLDEN_B = {
    "doc_num_sentences": 1, "doc_word_count": 19, "doc_mean_word_length": 3.68421053,
    "doc_symbol_to_word_ratio": 0.13043478, "doc_frac_lines_end_with_ellipsis": 0.16666667,
    "doc_frac_no_alph_words": 0.43478261, "doc_frac_unique_words": 0.84210526, "doc_unigram_entropy": 2.65258753,
    "doc_frac_all_caps_words": 0.17391304, "doc_stop_word_fraction": 0.08695652,
    "doc_frac_chars_top_2gram": 0.17142857, "doc_frac_chars_top_3gram": 0.17142857, "doc_frac_chars_top_4gram": 0,
}  # fmt: skip
GOLDEN_LINES_A = {
    "lines_num_words": [12, 3, 3, 5, 4, 4],
    "lines_uppercase_letter_fraction": [0.04166667, 0.11764706, 0, 0.03571429, 0, 0],
    "lines_ending_with_terminal_punctution_mark": [1, 1, 0, 1, 0, 0],
    "lines_start_with_bulletpoint": [0, 0, 1, 0, 0, 0],
    "lines_numerical_chars_fraction": [0, 0.2, 0, 0, 0, 0],
    "lines_javascript_counts": [0, 0, 0, 0, 0, 2],
}


@pytest.mark.parametrize(("text", "golden"), [(A, GOLDEN_A), (B, GOLDEN_B)])
def test_document_signals_are_those_of_the_official_code(text, golden, tmp_path):
    words = tmp_path / "en.txt"
    words.write_text("\n".join(STOP_WORDS))
    found = scored([text], "rpv2", stop_words=str(words))
    assert {name: round(found[f"rpv2.{name}"][0], 8) for name in golden} == golden


def test_line_signals_and_their_spans_are_those_of_the_official_code():
    found = scored([A, B], "rpv2.lines")
    for name, golden in GOLDEN_LINES_A.items():
        assert [round(span["score"], 8) for span in found[f"rpv2.{name}"][0]] == golden
    ends = [[span["end"] for span in spans] for spans in found["rpv2.lines_num_words"]]
    assert ends == [[48, 65, 78, 106, 128, 157], [16, 17, 63, 75, 87, 92]]
    assert [span["score"] for span in found["rpv2.lines_num_words"][1]] == [3, 0, 8, 3, 4, 1]
    assert round(found["rpv2.lines_numerical_chars_fraction"][1][4]["score"], 8) == 0.72727273
    assert found["rpv2.lines_uppercase_letter_fraction"][1][0]["score"] == 0.8125


def test_a_document_without_lines_has_one_bullet_span_without_a_score_and_a_missing_text_nothing():
    found = scored(["", None], "rpv2.lines")
    assert found["rpv2.lines_start_with_bulletpoint"] == [[{"start": 0, "end": 0, "score": None}], None]
    assert found["rpv2.lines_num_words"] == [[], None]


# The plain twin, written from the definitions of the paper's repository.


def norm(text):
    text = text.translate(str.maketrans("", "", string.punctuation)).lower().strip()
    return unicodedata.normalize("NFD", re.sub(r"\s+", " ", text))


def grams(words, n):
    return list(zip(*[words[i:] for i in range(n)], strict=False))


def top(words, n):
    counts = Counter(grams(words, n)).most_common(1)
    if not counts or counts[0][1] <= 1:
        return 0.0
    return sum(map(len, counts[0][0])) * counts[0][1] / sum(map(len, words))


def covered(words, n):
    if len(words) < n:
        return 0.0
    counts = Counter(grams(words, n))
    marked = [False] * len(words)
    for at, gram in enumerate(grams(words, n)):
        if counts[gram] > 1:
            marked[at : at + n] = [True] * n
    return sum(len(word) for word, mark in zip(words, marked, strict=True) if mark) / sum(map(len, words))


def document_twin(text, stop_words, bad_words):
    normalised = norm(text)
    words, raw = normalised.split(), re.findall(r"\w+|[^\w\s]+", text)
    lines = re.findall(r"[^\n]*\n|[^\n]+$", text)
    counts = Counter(words)
    sizes = {1 + entry.count(" ") for entry in bad_words}
    made = {
        "doc_num_sentences": len(re.findall(r"\b[^.!?]+[.!?]*", text)),
        "doc_word_count": len(words),
        "doc_mean_word_length": sum(map(len, words)) / len(words) if words else None,
        "doc_symbol_to_word_ratio": sum(map(text.count, ("#", "...", "…"))) / len(raw) if raw else None,
        "doc_frac_lines_end_with_ellipsis": (
            sum(line.rstrip().endswith(("...", "…")) for line in lines) / len(lines) if lines else None
        ),
        "doc_frac_no_alph_words": 1 - sum(bool(re.search("[a-zA-Z]", w)) for w in raw) / len(raw) if raw else None,
        "doc_frac_unique_words": len(counts) / len(words) if words else None,
        "doc_unigram_entropy": (
            sum(-c / len(words) * math.log(c / len(words)) for c in counts.values()) if words else None
        ),
        "doc_frac_all_caps_words": sum(map(str.isupper, raw)) / len(raw) if raw else None,
        "doc_curly_bracket": (text.count("{") + text.count("}")) / len(text) if text else 0.0,
        "doc_lorem_ipsum": normalised.count("lorem ipsum") / len(normalised) if normalised else 0.0,
        "doc_stop_word_fraction": sum(w in stop_words for w in raw) / len(raw) if words else 0.0,
        "doc_ldnoobw_words": sum(" ".join(gram) in bad_words for n in sizes for gram in grams(words, n)),
    }
    made |= {f"doc_frac_chars_top_{n}gram": top(words, n) for n in (2, 3, 4)}
    return made | {f"doc_frac_chars_dupe_{n}grams": covered(words, n) for n in range(5, 11)}


BULLETS = tuple("\u2022\u2023\u25b6\u25c0\u25e6\u25a0\u25a1\u25aa\u25ab\u2013")


def line_twin(text):
    made = {name: [] for name in (*GOLDEN_LINES_A,)}
    for match in re.finditer(r"[^\n]*\n|[^\n]+$", text):
        line, normal = match.group(), norm(match.group())
        scores = {
            "lines_ending_with_terminal_punctution_mark": line.rstrip().endswith((".", "!", "?", "”")),
            "lines_javascript_counts": normal.split().count("javascript"),
            "lines_num_words": len(normal.split()),
            "lines_numerical_chars_fraction": sum(map(str.isnumeric, normal)) / len(normal) if normal else 0.0,
            "lines_uppercase_letter_fraction": sum(map(str.isupper, line)) / len(line),
            "lines_start_with_bulletpoint": line.lstrip().startswith(BULLETS),
        }
        for name, score in scores.items():
            made[name].append((match.start(), match.end(), float(score)))
    if not text:
        made["lines_start_with_bulletpoint"] = [(0, 0, None)]
    return made


@given(st.lists(TEXTS, min_size=1, max_size=5))
@example([A, B, "", "\n", "…", "Σ", "ΑΣ ΑΣ'Σ", "a" + "\u0301\u0323" * 40])
def test_every_document_signal_equals_its_plain_twin(texts):
    bad_words = {"cat", "bad word", "x" * 40, "s&m"}
    material = Material(Settings())
    material.stop_words = hashes_of(STOP_WORDS)
    material.bad_words = Phrases.of(sorted(bad_words), as_written=True)
    made = score_batch(batch_of(texts), families_of("rpv2"), material=material)
    for row, text in enumerate(texts):
        twin = document_twin(text, STOP_WORDS, bad_words)
        mine = {name: made.column(f"rpv2.{name}")[row].as_py() for name in twin}
        assert {name: (mine[name], twin[name]) for name in twin if not agree(mine[name], twin[name])} == {}


@given(st.lists(TEXTS, min_size=1, max_size=5))
def test_every_line_signal_equals_its_plain_twin(texts):
    found = scored(texts, "rpv2.lines")
    for row, text in enumerate(texts):
        for name, twin in line_twin(text).items():
            mine = [(span["start"], span["end"], span["score"]) for span in found[f"rpv2.{name}"][row]]
            assert [m[:2] for m in mine] == [t[:2] for t in twin]
            assert all(agree(m[2], t[2]) for m, t in zip(mine, twin, strict=True))


def test_sets_of_ut1_categories_are_numbered_by_size_then_name(tmp_path):
    for category, domains in {"adult": "bad.example\nboth.example", "porn": "both.example", "own": "x.example"}.items():
        (tmp_path / category).mkdir()
        (tmp_path / category / "domains").write_text(domains)
    addresses = [
        "https://BAD.example/page",
        "both.example",
        "http://x.example:80/",
        "good.example",
        None,
        "http://[bad",
    ]
    batch = batch_of(["text"] * len(addresses)).append_column("url", pa.array(addresses, pa.string()))
    made = score_batch(batch, families_of("rpv2"), material=Material(Settings(domains=str(tmp_path))))
    # 13 sets of one category come first; of the pairs (adult, porn) is the 11th that begins with adult.
    assert made.column("rpv2.doc_ut1_blacklist").to_pylist() == [0, 23, None, None, None, None]
    names = ("adult", "agressif", "agressive", "arjel", "chat", "dating", "ddos", "filehosting", "gambling",
             "mixed_adult", "phishing", "porn", "violence")  # fmt: skip
    every = [*((name,) for name in names), *itertools.combinations(names, 2)]
    assert every[0] == ("adult",)
    assert every[23] == ("adult", "porn")
