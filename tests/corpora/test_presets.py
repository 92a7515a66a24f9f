"""Every name in every preset is a signal, rules mean what the published code does, and a wrong name is an error."""

import pyarrow as pa
import pytest
from signal_worlds import batch_of

from tokenry.corpora.expressions import parse
from tokenry.corpora.presets import PRESETS, Preset, asked_families, preset, presets_report
from tokenry.corpora.signals import families_of, score_batch, signal_columns


def kept(name, texts, extra=None):
    """Which texts a preset keeps, and the reasons for the others."""
    batch = batch_of(texts)
    for column, values in (extra or {}).items():
        batch = batch.append_column(column, pa.array(values))
    scored = score_batch(batch, families_of(list(preset(name).families)))
    held = {reason: parse(rule).holds(scored).to_pylist() for reason, rule in PRESETS[name].items()}
    return [[reason for reason, values in held.items() if not values[row]] for row in range(len(texts))]


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_name_in_a_preset_is_a_signal_and_every_rule_says_yes_or_no(name):
    columns = signal_columns()
    found = preset(name)
    for rule in found.rules.values():
        parse(rule).check(columns)
    for column in found.cut:
        assert pa.types.is_list(columns[column])
    assert set(found.columns) <= set(signal_columns(list(found.families)))
    scored = score_batch(batch_of(["Some text.", "", None]), families_of(list(found.families)))
    assert all(len(parse(rule).holds(scored)) == 3 for rule in found.rules.values())


def test_a_misspelt_signal_in_a_preset_is_an_error_that_names_the_nearest():
    """The released recipe of Dolma asks for most_common_2gram where the tagger writes most_common_2grams."""
    name = "dolma.gopher.fraction_of_characters_in_most_common_2gram"
    wrong = Preset("wrong", "", "", {"top": f"{name} <= 0.2"}, {})
    with pytest.raises(ValueError, match=r"which no signal is\. Did you mean '.*most_common_2grams'"):
        _ = wrong.families
    with pytest.raises(ValueError, match=r"no preset is called 'gofer-quality'.*gopher-quality"):
        preset("gofer-quality")
    with pytest.raises(ValueError, match="no signals named"):
        asked_families((), ())


WORDS = (
    "the cat and the dog have to be with that man of old times who sings loud songs every day near our house by a lake"
)
GOOD = (
    "In the early morning a ferry leaves the harbour with fruit, letters and a few sleepy travellers. They "
    "have coffee on the upper deck and look at the coast until fog hides it. The captain says that storms will "
    "be rare this month. Around noon the boat stops at an island of fishermen, where children wait to catch "
    "ropes. Nobody hurries. Boxes are carried ashore, news is told twice, and the engine starts again with "
    "some smoke. By evening lamps appear along another shore, and passengers gather their bags."
)


def test_rules_of_gopher_name_what_is_wrong():
    texts = [GOOD, "too short",
             ("# " + WORDS.replace(" ", " # ") + " ") * 3, "\n".join(f"- {WORDS} {n}" for n in range(5)),
             GOOD.replace("e", "7").replace("a", "7").replace("o", "7"), None]  # fmt: skip
    reasons = kept("gopher-quality", texts)
    assert reasons[0] == []
    assert "too-short" in reasons[1]
    assert "hashes" in reasons[2]
    assert reasons[3] == ["bullets"]
    assert "no-function-words" in reasons[4]
    assert len(reasons[5]) == len(PRESETS["gopher-quality"])  # what is unknown does not hold


def test_rules_of_repetition_and_of_fineweb_name_what_is_wrong():
    again = ("buy this now and save money today " * 30).strip()
    lines = "\n".join(["one line of text stands here."] * 8)
    assert kept("gopher-repetition", [GOOD])[0] == []
    assert {"top-3-gram", "dup-10-gram"} <= set(kept("gopher-repetition", [again])[0])
    assert {"lines-again", "line-characters-again"} <= set(kept("gopher-repetition", [lines])[0])
    assert kept("fineweb", [GOOD])[0] == []
    assert kept("fineweb", [lines])[0] == ["short-lines", "characters-again"]
    menu = kept("fineweb", ["\n".join(["home", "page", "contact", "list", "archive", "news"] * 3)])[0]
    assert menu == ["few-closed-lines", "short-lines", "characters-again", "lists"]


def test_rules_for_code_look_at_lines_letters_and_names():
    code = "def add(one, two):\n    return one + two\n" * 4
    names = ["src/a.py", "a.bin", "Makefile", None, "b.py", "c.py"]
    texts = [code, code, code, code, "x = '" + "a" * 1001 + "'", "+-*/ 1 (){}[];;;;" * 9]
    reasons = kept("github-v1", texts, {"path": names})
    assert reasons[:4] == [[], ["extension"], [], []]
    assert reasons[4] == ["long-line", "long-lines"]
    assert set(reasons[5]) >= {"not-alphanumeric", "letters-per-token"}


def test_the_example_of_redpajama_keeps_good_text():
    assert kept("rpv2-gopher", [GOOD, "short"]) == [[], ["word-count"]]
    assert kept("dolma-v1.5", [GOOD])[0] == []


def test_reports_list_presets_and_their_rules():
    listed = presets_report().tables["presets"]
    assert set(listed.column("preset").to_pylist()) == set(PRESETS)
    shown = presets_report(["c4"]).tables
    assert shown["rules"].num_rows == 3
    assert shown["taken out"].column("spans").to_pylist() == ["c4.dropped"]
