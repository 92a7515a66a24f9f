"""Pruning: text that used nothing of what goes is cut as before, bytes and specials stay, rows can be followed."""

import json
import lzma

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trained_vocabularies import fiction, flores, mixture, script_lines, small

from tokenry.core.vocab import Kind, Vocab, check_vocab
from tokenry.data import demo_text
from tokenry.tokenization.prune import prune, removable
from tokenry.tokenization.train import train

KINDS = {
    "byte-level": lambda: small("byte-level"),
    "metaspace": lambda: small("metaspace"),
    "wordpiece": lambda: train(fiction(60), size=600, kind="wordpiece"),
    "unigram": lambda: train(fiction(60), size=600, kind="unigram"),
}


def check_pruned(old: Vocab, pruned, texts: list[str]) -> int:
    """The laws of pruning; returns how many of the texts used nothing that was removed."""
    new, gone = pruned.vocab, set(pruned.removed.tolist())
    came_from = pruned.token_map.cols
    assert pruned.token_map.shape == (new.size, old.size)
    assert pruned.token_map.copies.all()
    assert [new.tokens[i] for i in range(new.size)] == [old.tokens[i] for i in came_from]
    assert [new.literal(i) for i in range(new.size)] == [old.literal(i) for i in came_from]
    assert {role: old.literal(i) for role, i in old.specials.items()} == {
        r: new.literal(i) for r, i in new.specials.items()
    }
    assert not any(old.kinds[i] in (Kind.BYTE, Kind.SPECIAL) for i in gone)
    untouched = 0
    for text, before, after in zip(texts, old.encode(texts), new.encode(texts), strict=True):
        if not gone & set(before.tolist()):
            assert came_from[after].tolist() == before.tolist()
            untouched += 1
        assert new.decode(after) == old.decode(before), text
    return untouched


@pytest.mark.parametrize("kind", KINDS)
def test_text_that_used_nothing_of_what_goes_is_cut_as_before(kind):
    old = KINDS[kind]()
    texts = [line for text in fiction(60) for line in text.split(". ")] + script_lines()
    pruned = prune(old, fiction(30), keep=old.size - 150)
    assert pruned.vocab.size == old.size - 150
    assert check_pruned(old, pruned, texts) > 5
    assert pruned.report.facts["untouched_words_changed"] == 0
    check_vocab(pruned.vocab, texts)


@pytest.mark.parametrize("kind", KINDS)
def test_taking_out_what_is_never_used_leaves_the_text_exactly_as_it_was(kind):
    old = KINDS[kind]()
    text = fiction(12)
    pruned = prune(old, text, min_uses=1)
    assert pruned.report.facts["n_removed"] >= 20
    assert pruned.report.facts["n_removed_used"] == pruned.report.facts["words_changed_share"] == 0
    assert pruned.report.facts["n_tokens.after"] == pruned.report.facts["n_tokens.before"]
    assert check_pruned(old, pruned, text) == len(text)


@settings(max_examples=40)
@given(
    learned=st.lists(st.text("abc ", min_size=1, max_size=30), min_size=1, max_size=6),
    used=st.lists(st.text("abc ", min_size=1, max_size=30), min_size=1, max_size=4),
    texts=st.lists(st.text("abcd 1\n", max_size=30), max_size=6), share=st.floats(0, 1),
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:.*nothing more to learn")
def test_the_law_holds_for_any_text_and_any_number(learned, used, texts, share):
    old = train(learned, size=275, min_count=1)
    n = int(removable(old).sum())
    if n:
        check_pruned(old, prune(old, used, keep=old.size - 1 - int(share * (n - 1))), texts)


def test_removing_inner_entries_would_break_the_law_and_we_do_not():
    """What BPE trimming does: "the" is used, its stepping stone "th" never shows. Without "th" there is no "the"."""
    old = train(["the the the the the"], size=259, min_count=1, specials=[])
    stone = next(i for i, token in enumerate(old.tokens) if token in (b"th", b"he"))
    assert stone not in prune(old, ["the the"], min_uses=1).removed


def test_ids_everywhere_are_brought_up_to_date(tmp_path):
    old = train(fiction(60), size=600, kind="wordpiece")
    pruned = prune(old, fiction(10), keep=450).vocab
    mark = {
        token: i for i, token in ((i, pruned.literal(i)) for i in range(pruned.size)) if token in ("[CLS]", "[SEP]")
    }
    ids = pruned.backend.encode("the whale").ids
    assert [ids[0], ids[-1]] == [mark["[CLS]"], mark["[SEP]"]]
    scores = [-float(i) for i in range(small("metaspace").size)]
    scored = Vocab.from_spec(
        small("metaspace").spec, {**small("metaspace").config, "piece_scores": scores, "bos_token_id": 0}
    )
    smaller = prune(scored, fiction(10), keep=500)
    assert smaller.vocab.scores.tolist() == [scores[i] for i in smaller.token_map.cols]
    assert smaller.vocab.config["bos_token_id"] == 0


def test_holes_go_and_reserved_tokens_stay():
    spec = small().spec
    end = {"id": 705, "content": "<|end|>", "special": True, "normalized": False, "single_word": False,
           "lstrip": False, "rstrip": False}  # fmt: skip
    old = Vocab.from_spec({**spec, "added_tokens": [*spec["added_tokens"], end]}, small().config)
    assert old.size == 706
    pruned = prune(old, fiction(10), keep=600)
    assert pruned.vocab.size == 600
    assert pruned.vocab.encode(["a<|end|>"])[0].tolist()[-1] == 599
    check_pruned(old, pruned, ["a <|end|> the", *fiction(5)])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({}, "need one of them"),
        ({"keep": 9, "min_uses": 1}, "need one of them"),
        ({"keep": 700}, "entries of"),
        ({"keep": 100}, "always stay"),
    ],
)
def test_impossible_numbers_are_refused_with_the_possible_ones(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        prune(small(), fiction(3), **options)


def test_least_used_leaves_cost_fewer_tokens_than_the_last_learned():
    """Trained on fiction and children's stories, pruned from 2,000 to 1,200 by a quarter of the stories, measured on
    another half: dropping the last learned makes it 2,205 of 20,902 tokens longer, pruning 799; asked: half of it."""
    with lzma.open(demo_text("stories"), "rt", encoding="utf-8") as lines:
        stories = [json.loads(line)["text"] for line in lines]
    old = train(fiction(300) + stories[::2], size=2000)
    pruned = prune(old, stories[::4], keep=1200).vocab
    model = old.spec["model"]
    first = {entry: i for entry, i in model["vocab"].items() if i < 1200}
    spec = {**old.spec, "model": {**model, "vocab": first, "merges": model["merges"][:-800]}}
    naive = Vocab.from_spec(spec, old.config)
    assert naive.size == pruned.size
    n_old, n_naive, n_ours = (sum(map(len, v.encode(stories[1::2]))) for v in (old, naive, pruned))
    assert n_ours - n_old < 0.5 * (n_naive - n_old), (n_old, n_naive, n_ours)


@pytest.mark.slow  # opens three real tokenizers of 50,000 entries and more
@pytest.mark.parametrize("source", ["gpt2", "mistral/tokenizer.model.v1.xz", "qwen2.5"])
def test_real_tokenizers_keep_the_law_on_real_text(source, shared_data):
    old = Vocab.open(shared_data / "tokenizers" / source)
    pruned = prune(old, mixture(shared_data, "es", 1500), keep=20_000)
    assert pruned.vocab.size == 20_000
    texts = [line for code in ("spa_Latn", "eng_Latn", "tha_Thai") for line in flores(shared_data, code)[:200]]
    check_pruned(old, pruned, texts)


def test_the_verb_writes_a_folder_with_the_map_of_rows(tmp_path):
    from tokenry.cli import main
    from tokenry.core.tokenmap import TokenMap

    text = tmp_path / "text.jsonl"
    text.write_text("".join(json.dumps({"text": line}) + "\n" for line in fiction(20)), encoding="utf-8")
    small().to_hf(tmp_path / "base")
    command = ["tokenizer", "prune", str(tmp_path / "base"), "--data", str(text), "--keep", "500", "--out"]
    with pytest.raises(SystemExit) as stop:
        main([*command, str(tmp_path / "small"), "--quiet"])
    assert not stop.value.code
    opened, rows = Vocab.open(tmp_path / "small"), TokenMap.load(tmp_path / "small" / "token_map.npz")
    assert (opened.size, rows.shape) == (500, (500, 700))
    matrix = np.random.default_rng(0).normal(size=(700, 3))
    np.testing.assert_array_equal(rows.apply(matrix), matrix[rows.cols])
    assert (tmp_path / "small" / "run.json").is_file()


@pytest.mark.slow  # imports transformers
@pytest.mark.parametrize("kind", KINDS)
def test_a_pruned_tokenizer_opens_in_autotokenizer_with_its_ids(kind, tmp_path):
    from transformers import AutoTokenizer

    vocab = prune(KINDS[kind](), fiction(20), keep=520).vocab
    vocab.to_hf(tmp_path)
    opened = AutoTokenizer.from_pretrained(tmp_path)
    assert len(opened) == vocab.size
    for text, ids in zip(fiction(20), vocab.encode(fiction(20)), strict=True):
        assert opened(text, add_special_tokens=False)["input_ids"] == ids.tolist()
