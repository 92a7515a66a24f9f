"""Inferring a mixture from end to end, and through the verb."""

import json
import lzma

import numpy as np
import pytest
from audited_tokenizers import unigram
from trained_vocabularies import fiction, mixture, script_lines, small

from tokenry.cli import main
from tokenry.core.vocab import Vocab
from tokenry.tokenization.mixture import MixtureOptions, infer_mixture
from tokenry.tokenization.mixture_calibration import learn_merges, weights_for
from tokenry.tokenization.mixture_counts import count_categories, spell_words
from tokenry.tokenization.train import train

COLUMNS = ["source", "bytes_share", "pairs_share", "low", "high"]


def _write(file, texts):
    with open(file, "w", encoding="utf-8") as lines:
        lines.writelines(json.dumps({"text": text}) + "\n" for text in texts)
    return file


def _lines(file):
    return file.read_text(encoding="utf-8").splitlines()


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """A tokenizer of two categories, each a file, where the second is taken four times, and its folder."""
    folder = tmp_path_factory.mktemp("planted")
    a, b = fiction()[:200], [*script_lines(), *(text.upper() for text in fiction()[200:240])]
    train([*a, *b * 4], size=600).to_hf(folder / "tok")
    return folder, _write(folder / "a.jsonl", a), _write(folder / "b.jsonl", b)


def _run(capsys, *arguments) -> dict:
    with pytest.raises(SystemExit) as stop:
        main(["tokenizer", "mixture", *map(str, arguments), "--json", "--quiet"])
    assert not stop.value.code
    return json.loads(capsys.readouterr().out)


def _shares(report: dict) -> dict[str, dict]:
    table = report["tables"]["shares"]
    return {row["source"]: row for row in _rows(table)}


def _rows(table: dict) -> list[dict]:
    """Rows of a table in the report's JSON."""
    return [dict(zip(table["columns"], values, strict=True)) for values in zip(*table["columns"].values(), strict=True)]


def test_the_training_documents_themselves_give_the_shares_exactly(planted, capsys, tmp_path):
    """Exact-data identity through the verb: nothing is violated, and the shares are the true ones."""
    folder, a, b = planted
    report = _run(capsys, folder / "tok", "--corpus", f"a={a}", "--corpus", f"b={b}", "--near-optimal", "--refit",
                  "--bootstrap", 6, "--groups", "all=a+b", "--trajectories", tmp_path / "kept",
                  "--out", tmp_path / "out")  # fmt: skip
    size = [len("".join(json.loads(line)["text"] for line in _lines(file)).encode()) for file in (a, b)]
    truth = size[0] / (size[0] + 4 * size[1])
    shares = _shares(report)
    assert set(shares["a"]) == set(COLUMNS)
    # Two categories at 340 merges: the feasible set is small, not a point; a tenth of a percent is its size here.
    assert (shares["a"]["bytes_share"] - truth) ** 2 < 1e-5
    # In pairs per million; one occurrence of a pair in these texts is worth more than ten.
    assert report["facts"]["objective"] == pytest.approx(0, abs=0.1)
    assert _rows(report["tables"]["groups"])[0]["bytes_share"] == pytest.approx(1)
    assert _rows(report["tables"]["refit"])[-1]["overlap"] > 0.95
    assert {row["kind"] for row in _rows(report["tables"]["intervals"])} == {"bootstrap", "near-optimal"}
    assert json.loads((tmp_path / "out" / "run.json").read_text())["verb"] == "tokenizer mixture"
    assert (tmp_path / "out" / "report.html").stat().st_size > 1000


def test_one_table_with_a_source_column_says_the_same(planted, capsys):
    folder, a, b = planted
    together = folder / "all.jsonl"
    rows = [{**json.loads(line), "source": name} for name, file in (("a", a), ("b", b)) for line in _lines(file)]
    together.write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = ["--bootstrap", 0, "--no-baselines", "--unit", "pairs"]
    by_table = _run(capsys, folder / "tok", "--corpus", together, *options)
    by_name = _run(capsys, folder / "tok", "--corpus", f"a={a}", "--corpus", f"b={b}", *options)
    assert _shares(by_table) == _shares(by_name)


def test_calibrated_interval_is_shown_when_asked_for(planted):
    folder, a, b = planted
    report = infer_mixture(
        folder / "tok", {"a": a, "b": b}, calibrate=3, bootstrap=8, baselines=False, merges=150, trained_bytes=30_000.0
    )
    assert report.tables["shares"].column_names == COLUMNS
    kinds = report.tables["intervals"].to_pylist()
    shown = {row["source"]: (row["low"], row["high"]) for row in kinds if row["kind"] == "calibrated"}
    for row in report.tables["shares"].to_pylist():
        assert (row["low"], row["high"]) == shown[row["source"]]
        assert row["low"] <= row["bytes_share"] <= row["high"]
    assert "correlations" in report.tables
    assert report.facts["calibration.rounds"] == 3
    assert any("from 3 calibration rounds" in text for text in report.warnings)


def test_one_category_has_all_and_the_report_says_why(planted):
    folder, a, _ = planted
    report = infer_mixture(folder / "tok", {"a": a})
    assert report.tables["shares"].to_pylist()[0]["bytes_share"] == 1
    assert "share is 1 by definition" in report.verdict
    assert report.warnings


def test_what_no_sample_holds_names_the_missing_category(planted):
    folder, a, _ = planted
    report = infer_mixture(
        folder / "tok", {"a": a, "upper": [text.upper() for text in fiction()[200:300]]}, baselines=False, bootstrap=0
    )
    scripts = {row["script"] for row in report.tables["missing_scripts"].to_pylist()}
    assert report.facts["n_merges.missing"] > 0
    assert scripts & {"Tamil", "Cyrillic", "Arabic", "Devanagari", "Han", "Greek"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--corpus", "a={a}", "--corpus", "a={b}"], "'a' is given twice"),
        (["--corpus", "{a}", "--corpus", "b={b}"], "has no name"),
        (["--corpus", "a={a}", "--corpus", "b=none.jsonl"], "none.jsonl"),
        (["--corpus", "a={a}", "--corpus", "b={b}", "--merges", "999999"], "which has"),
        (["--corpus", "a={a}", "--corpus", "b={b}", "--first-merge", "999999"], "leaves none"),
        (["--corpus", "a={a}", "--corpus", "b={b}", "--unit", "byte"], "Did you mean 'bytes'"),
        (["--corpus", "a={a}", "--corpus", "b={b}", "--groups", "x=a+c"], "which is no category"),
        (["--corpus", "a={a}", "--corpus", "b={b}", "--groups", "x=a+a"], "category twice"),
        (["--corpus", "a={a}", "--corpus", "b={b}", "--skip-merges", "none.txt"], "no file none.txt"),
        (["--corpus", "a={a}", "--corpus", "b={b}", "--level", "90"], "between 0 and 1"),
    ],
)
def test_wrong_arguments_end_with_two_and_a_way_out(planted, capsys, arguments, message):
    folder, a, b = planted
    with pytest.raises(SystemExit) as stop:
        main(["tokenizer", "mixture", str(folder / "tok"), *(x.format(a=a, b=b) for x in arguments), "--quiet"])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_a_tokenizer_without_merges_is_refused(planted, capsys, tmp_path):
    _, a, b = planted
    unigram().to_hf(tmp_path / "uni")
    with pytest.raises(SystemExit) as stop:
        main(["tokenizer", "mixture", str(tmp_path / "uni"), "--corpus", f"a={a}", "--corpus", f"b={b}"])
    assert stop.value.code == 2
    assert "no order of merges" in capsys.readouterr().err


def test_inherited_merges_are_applied_silently(planted):
    folder, a, b = planted
    report = infer_mixture(folder / "tok", {"a": a, "b": b}, first_merge=100, baselines=False, bootstrap=0, refit=True)
    assert report.facts["n_merges.silent"] == 100
    assert report.facts["n_merges.evidence"] <= report.facts["n_merges"] - 100
    assert report.tables["refit"].to_pylist()[-1]["merges"] == report.facts["n_merges"] - 100


@pytest.mark.slow  # five languages, eight known mixtures for a baseline, about 3 s
def test_the_shares_beat_every_baseline_on_a_planted_mixture_of_languages(shared_data):
    """Effect: five languages at known shares, half of the documents train and the other half attacks.

    The errors of the baselines are those of guesses that do not use the order of merges: uniform is off by the spread
    of the shares, here a mean squared error of 0.024. A hundredth of the best baseline leaves room for five samples of
    0.15 MB (the paper's margin with 1 GB is five orders of magnitude).
    """
    shares = np.array([0.45, 0.3, 0.15, 0.07, 0.03])
    texts = {name: mixture(shared_data, name, 1000) for name in ("de", "tr", "en", "ru", "code_c")}
    base = train(["nothing"], kind="byte", pattern="cl100k", specials=[])
    training = count_categories({name: part[::2] for name, part in texts.items()}, base)
    words = spell_words(base, training.words)
    merges = learn_merges(
        base, words, training.by_category() @ weights_for(shares, training.bytes_by_category), n_merges=800
    )
    vocab = _as_vocab(base, merges)
    report = infer_mixture(vocab, {name: part[1::2] for name, part in texts.items()}, bootstrap=0)
    rows = report.tables["baselines"].to_pylist()
    truth = dict(zip(texts, shares, strict=True))

    def error(column):
        return np.mean([(row[column] - truth[row["source"]]) ** 2 for row in rows])

    others = [error(name) for name in ("uniform", "vocabulary_frequency", "encoding_efficiency")]
    assert error("inferred") < min(others) / 10
    assert error("inferred") < error("uniform") / 100


def _as_vocab(base: Vocab, merges: np.ndarray) -> Vocab:
    """A tokenizer with these merges on the base's start symbols."""
    spec = json.loads(json.dumps(base.spec))
    names = {i: base.literal(i) for i in range(base.size)}
    listed, entries = [], dict(spec["model"]["vocab"])
    for left, right, made in merges.tolist():
        names[made] = names[left] + names[right]
        listed.append([names[left], names[right]])
        entries.setdefault(names[made], len(entries))
    spec["model"] |= {"vocab": entries, "merges": listed}
    return Vocab.from_spec(spec, name="planted")


@pytest.mark.slow  # 2,000 merges of a real tokenizer on 0.5 MB of real text, eight resamples, about 4 s
def test_gpt2_is_more_english_than_german(shared_data):
    names = ("en", "de", "code_python")
    texts = {name: mixture(shared_data, name, 600) for name in names}
    report = infer_mixture(shared_data / "tokenizers" / "gpt2", texts, merges=2000, bootstrap=8, baselines=False)
    shares = {row["source"]: row["bytes_share"] for row in report.tables["shares"].to_pylist()}
    assert shares["en"] > 0.7
    assert shares["de"] < 0.15


def test_options_out_of_range_are_refused():
    for wrong in ({"bootstrap": -1}, {"n_shards": 1}, {"near_optimal": 0.0}, {"merges": 0}):
        with pytest.raises(ValueError, match="need"):
            MixtureOptions(**wrong)


def test_xz_files_and_globs_are_read(planted, tmp_path):
    _, a, b = planted
    (tmp_path / "b.jsonl.xz").write_bytes(lzma.compress(b.read_bytes()))
    report = infer_mixture(small(), {"a": str(a), "b": str(tmp_path / "*.xz")}, bootstrap=0, baselines=False, merges=50)
    assert report.facts["n_categories"] == 2
