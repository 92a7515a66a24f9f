"""The report of a training run, and the verb that writes it."""

import json

import pytest
from tokenizers import Tokenizer
from trained_vocabularies import fiction

from tokenry.cli import main
from tokenry.core.vocab import Vocab
from tokenry.data import demo_text
from tokenry.tokenization.composing import Recipe, compose
from tokenry.tokenization.training_report import bytes_per_token, changed_by_normalizer, training_report


def run(capsys, *arguments, code=0):
    with pytest.raises(SystemExit) as stop:
        main(["tokenizer", "train", *map(str, arguments), "--json", "--quiet"])
    out, err = capsys.readouterr()
    assert stop.value.code == code, err
    return json.loads(out) if code == 0 else err


def test_bytes_per_token_is_a_ratio_of_sums_with_an_interval():
    vocab = compose(["a b"], Recipe(kind="byte")).vocab
    assert bytes_per_token(vocab, ["abc", "", "ü"]).value == 1.0
    assert bytes_per_token(vocab, ["abc", "ü"]).n == 2


def test_the_share_a_normaliser_changes_is_counted_by_hand():
    vocab = compose(fiction(5), Recipe(size=300, normalizer="nfkc", lowercase=True)).vocab
    changed = changed_by_normalizer(vocab, ["½ plain Text", "all plain"])
    # Words of 2, 5, 4 and 3, 5 bytes: NFKC changes the first, lower case the third.
    assert changed["text_changed.NFKC"].value == pytest.approx(2 / 19)
    assert changed["text_changed.Lowercase"].value == pytest.approx(4 / 19)
    assert changed_by_normalizer(compose(["a"], Recipe(kind="byte")).vocab, ["½"]) == {}


def test_the_report_shows_terms_sources_and_leaks():
    from tokenry.tokenization.ensured import Terms

    docs = [{"text": text, "source": "ab"[i % 2]} for i, text in enumerate(fiction(80))]
    recipe = Recipe(size=500, pattern="gpt2", terms=Terms(("habeas",)), mix={"a": 2, "b": 1},
                    boundaries=("characters",))  # fmt: skip
    with pytest.warns(UserWarning, match="nothing more"):
        made = compose(docs, recipe)
    report = training_report(made, source=docs, heldout=fiction(120)[80:])
    assert report.facts["terms.guaranteed"] == 2
    assert report.facts["boundary.leak_rate"] < 0.2
    assert report.facts["bytes_per_token.heldout"].n == 40
    assert report.tables["mix"].column("repeats").to_pylist()[0] > 1
    assert "repeats a" in report.warnings[-1]
    assert json.loads(report.to_json())["facts"]["terms.entries"] == made.terms.n_new


def test_the_verb_composes_with_everything_and_writes_what_the_library_opens(capsys, tmp_path):
    held, terms = tmp_path / "held.jsonl", tmp_path / "terms.txt"
    held.write_text("\n".join(json.dumps({"text": text}) for text in fiction(230)[200:]), encoding="utf-8")
    terms.write_text("habeas corpus\ncertiorari\nwhale\n", encoding="utf-8")
    shown = run(capsys, "--data", demo_text("fiction"), "--limit", 200, "--size", 900, "--pattern", "gpt2",
                "--terms", terms, "--custom-group", "enumerators,years:1990-1999", "--terms-as", "both", "--digits",
                "free", "--normalizer", "nfc", "--pad-to", "pow2", "--heldout", held,
                "--out", tmp_path / "tok")  # fmt: skip
    assert shown["facts"]["vocab_size"] == 1024
    assert shown["facts"]["terms.not_ensured"] == 0
    assert shown["facts"]["bytes_per_token.heldout"]["n"] > 5
    opened = Tokenizer.from_file(str(tmp_path / "tok" / "tokenizer.json"))
    assert opened.get_vocab_size() == 1024
    for term in ("certiorari", "habeas corpus", "1994", "(iv)"):
        assert len(opened.encode(term).ids) == 1
    assert json.loads((tmp_path / "tok" / "run.json").read_text())["arguments"]["terms_as"] == "both"
    assert (tmp_path / "tok" / "report" / "report.html").is_file()


def test_the_verb_writes_a_family(capsys, tmp_path):
    shown = run(capsys, "--data", demo_text("fiction"), "--limit", 100, "--sizes", "400,600", "--preset", "char",
                "--out", tmp_path / "family")  # fmt: skip
    assert shown["kind"] == "tokenizer-family"
    small, large = (Vocab.open(tmp_path / "family" / str(size)) for size in (400, 600))
    assert (small.size, large.size) == (400, 600)
    assert large.tokens[:400] == small.tokens


def test_the_verb_keeps_a_budget_of_terms_and_weighs_sources(capsys, tmp_path):
    data = tmp_path / "data.jsonl"
    rows = [{"text": text, "source": "ab"[i % 2]} for i, text in enumerate(fiction(100))]
    data.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    terms = tmp_path / "terms.txt"
    terms.write_text("Alice\nwhale\ncertiorari\n", encoding="utf-8")
    shown = run(capsys, "--data", data, "--size", 500, "--terms", terms, "--terms-budget", 1, "--mix", "a=1,b=3",
                "--out", tmp_path / "tok")  # fmt: skip
    assert set(shown["tables"]["terms"]["columns"]["term"]) == {"Alice", " Alice"}
    assert shown["tables"]["mix"]["columns"]["source"] == ["a", "b"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--mix", "nosuch=1"), "nosuch"),
        (("--boundary", "lexicn:x"), "Did you mean"),
        (("--custom-group", "htm"), "Did you mean 'html'"),
        (("--pad-to", "3x"), "pow2"),
        (("--digits", "odd"), "digit policy"),
        (("--kind", "unigram", "--sizes", "400"), "one by one"),
    ],
)
def test_the_verb_refuses_with_code_2_and_leaves_nothing(arguments, sentence, capsys, tmp_path):
    err = run(capsys, "--data", demo_text("fiction"), "--limit", 20, "--size", 400, "--out", tmp_path / "tok",
              *arguments, code=2)  # fmt: skip
    assert sentence in err
    assert not list(tmp_path.iterdir())
