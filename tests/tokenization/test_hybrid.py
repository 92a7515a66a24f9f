"""The hybrid trainer: morphemes become tokens, nothing is lost, and it beats BPE where the truth is known."""

import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tokenry.core.report import Report
from tokenry.core.vocab import Vocab, check_vocab
from tokenry.tokenization.gold_segmentations import GoldWord, boundary_scores
from tokenry.tokenization.hybrid import likely_analyses, train_hybrid
from tokenry.tokenization.language_purity import language_purity
from tokenry.tokenization.train import train
from tokenry.tokenization.validators import Lexicon

SUFFIXES = ["lar", "im", "da", "ki", "siz", "lik"]


def _language(n_roots: int = 150, n_documents: int = 120, seed: int = 0):
    """A made language: roots of two or three syllables with up to three suffixes; documents, roots, all words' cuts."""
    rng = random.Random(seed)
    roots = sorted({"".join(rng.choice("bcdgkmprt") + rng.choice("aeiou") for _ in range(rng.choice([2, 3])))
                    for _ in range(n_roots)})  # fmt: skip
    cuts, documents = {}, []
    for _ in range(n_documents):
        words = []
        for _ in range(40):
            parts = (rng.choice(roots[: rng.choice([20, len(roots)])]), *rng.sample(SUFFIXES, rng.randint(0, 3)))
            cuts["".join(parts)] = parts
            words.append("".join(parts))
        documents.append(" ".join(words))
    return documents, roots, cuts


@pytest.fixture(scope="module")
def made():
    documents, roots, cuts = _language()
    lexicon = Lexicon(roots, affixes=SUFFIXES, segmentations={word: [cut] for word, cut in cuts.items()})
    hybrid = train_hybrid(documents[:60], lexicon, size=700)
    return documents, lexicon, cuts, hybrid


def test_morphemes_become_tokens_and_beat_bpe_of_equal_size(made):
    """Held-out documents. The truth is known: all words are roots and suffixes, so a perfect tokenizer has 100 % pure
    tokens. BPE of the same size learns frequent words whole and cuts others anywhere."""
    documents, lexicon, cuts, hybrid = made
    plain = train(documents[:60], size=hybrid.vocab.size, style="metaspace")
    ours, theirs = (language_purity(vocab, documents[60:], lexicon).facts for vocab in (hybrid.vocab, plain))
    assert hybrid.kept_share > 0.95
    assert hybrid.analysed_share == 1.0
    assert ours["pure_token"].low > max(0.9, theirs["pure_token"].high)
    assert ours["valid_token"].low > theirs["valid_token"].high
    assert ours["tokens_per_word"].value > theirs["tokens_per_word"].value, "and it costs tokens"
    seen = set(" ".join(documents[60:]).split())
    gold = [GoldWord(w, c, tuple(len("".join(c[:i])) for i in range(1, len(c)))) for w, c in cuts.items() if w in seen]
    assert boundary_scores(hybrid.vocab, gold).f1.low > boundary_scores(plain, gold).f1.high


TEXTS = st.text(st.characters(exclude_characters="▁<", exclude_categories=("Cs",)), max_size=40)


@given(TEXTS)
@example("HTTPServer getX ABC")
@example("  two  spaces \n\t and line ends\r\n")
@example("日本語 émigré 👩‍👩‍👧 \x00")
def test_every_text_comes_back(made, text):
    vocab = made[3].vocab
    (ids,) = vocab.encode([text])
    assert vocab.decode(ids) == text


def test_runs_of_capitals_and_digits_are_cut_off(made):
    (ids,) = made[3].vocab.encode(["HTTPServer 1234"])
    shown, cuts = made[3].vocab.decode_bytes(ids), []
    for i in ids.tolist():
        cuts.append((cuts[-1] if cuts else 0) + len(made[3].vocab.tokens[i]))
    assert shown == b" HTTPServer 1234"
    assert {5, 11, 12, 13, 14, 15, 16} <= set(cuts)


@pytest.mark.slow  # imports transformers
def test_the_library_opens_it_alone(made, tmp_path):
    pytest.importorskip("transformers")
    from transformers import AutoTokenizer

    vocab = made[3].vocab
    vocab.to_hf(tmp_path)
    theirs = AutoTokenizer.from_pretrained(str(tmp_path))
    for text in (made[0][0], "HTTPServer, ok?\n"):
        ids = vocab.encode([text])[0].tolist()
        assert theirs(text, add_special_tokens=False)["input_ids"] == ids
        assert theirs.decode(ids) == text
    check_vocab(Vocab.open(tmp_path), [made[0][0], "ö 12"])


def test_the_likelier_analysis_is_taken():
    """ "bada" alone could be ba+da or bada; with ba and da everywhere, and bada nowhere else, it is cut."""
    known = {"▁bada": (1, [("▁bada",), ("▁ba", "da")]), "▁balar": (30, [("▁ba", "lar")]),
             "▁koda": (30, [("▁ko", "da")]),
             "▁da": (9, [("▁da",)])}  # fmt: skip
    rare = {**known, "▁xoda": (500, [("▁xo", "da")]), "▁ba": (500, [("▁ba",)])}
    assert likely_analyses(rare)["▁bada"] == ("▁ba", "da")
    alone = {"▁bada": (50, [("▁bada",), ("▁ba", "da")]), "▁x": (5, [("▁x",)])}
    assert likely_analyses(alone)["▁bada"] == ("▁bada",)


def test_size_roots_and_specials_are_as_asked(made):
    documents, lexicon = made[:2]
    found = train_hybrid(
        documents[:20], lexicon, size=450, roots=["zebra", "gnu"], specials={"unk": "<unk>", "eos": "</s>"}
    )
    assert found.vocab.size <= 450
    assert {b" zebra", b" gnu"} <= set(found.vocab.index)
    assert found.vocab.specials == {"unk": 0, "eos": 1}


def test_what_cannot_work_is_named(made):
    documents, lexicon = made[:2]
    with pytest.raises(ValueError, match="does not hold"):
        train_hybrid(documents[:5], lexicon, size=200)
    with pytest.raises(ValueError, match="of the text's language"):
        train_hybrid(["zzz zzz zzz"], Lexicon(["other"]), size=400)
    with pytest.raises(ValueError, match="unk"):
        train_hybrid(documents[:5], lexicon, size=500, specials={"eos": "</s>"})


def test_the_verb_writes_a_folder_and_the_other_verb_judges_it(made, tmp_path, capsys):
    from tokenry.cli import main

    documents = made[0]
    lists = {
        "text.jsonl": [f'{{"text": "{text}"}}' for text in documents[:30]],
        "roots.txt": sorted(made[1]._roots),
        "affixes.txt": [f"-{suffix}" for suffix in SUFFIXES],
    }
    for name, lines in lists.items():
        (tmp_path / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    given = ["--text", str(tmp_path / "text.jsonl"), "--lexicon", str(tmp_path / "roots.txt"),
             "--affixes", str(tmp_path / "affixes.txt"), "--lang", "tr", "--json"]  # fmt: skip
    for verb in (
        ["hybrid", "--size", "650", "--out", str(tmp_path / "hybrid")],
        ["morphology", str(tmp_path / "hybrid")],
    ):
        with pytest.raises(SystemExit) as stopped:
            main(["tokenizer", *verb, *given])
        assert not stopped.value.code
        report = Report.from_json(capsys.readouterr().out)
    assert (tmp_path / "hybrid" / "run.json").is_file()
    assert report.kind == "tokenizer-purity"
    assert report.facts["pure_token"].value > 0.9
