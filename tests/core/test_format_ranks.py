import base64
import json
import lzma
from itertools import pairwise
from pathlib import Path

import pytest
import tiktoken
from hypothesis import given
from hypothesis import strategies as st
from sample_texts import flores_texts, mixture_texts, script_texts, udhr_texts
from sample_vocabularies import byte_level_json, ranks, write_ranks

from tokenry.core.format_ranks import last_merge, merges_from_ranks, spec_from_tekken
from tokenry.core.formats import read_spec
from tokenry.core.patterns import PATTERNS
from tokenry.core.vocab import Kind, Vocab, check_vocab

OPENAI = {"r50k_base": 50257, "p50k_base": 50281, "cl100k_base": 100277, "o200k_base": 200019}


def native(table: dict[bytes, int], pattern: str) -> tiktoken.Encoding:
    return tiktoken.Encoding("native", pat_str=pattern, mergeable_ranks=table, special_tokens={})


def assert_same(vocab: Vocab, encoding: tiktoken.Encoding, texts: list[str], *, shift: int = 0) -> None:
    expected = encoding.encode_ordinary_batch(texts, num_threads=1)
    for text, ours, theirs in zip(texts, vocab.encode(texts), expected, strict=True):
        assert (ours.astype(int) - shift).tolist() == theirs, text[:80]


def encode_by_ranks(data: bytes, table: dict[bytes, int]) -> list[bytes]:
    """The rule of tiktoken: join the neighbours of lowest rank, leftmost first, until none can be joined."""
    parts = [data[i : i + 1] for i in range(len(data))]
    while True:
        found = [(table[a + b], i) for i, (a, b) in enumerate(pairwise(parts)) if a + b in table]
        if not found:
            return parts
        at = min(found)[1]
        parts[at : at + 2] = [parts[at] + parts[at + 1]]


def encode_by_merges(data: bytes, merges: list[tuple[bytes, bytes]]) -> list[bytes]:
    """The rule of a tokenizer.json: the first merge of the list that applies, leftmost first."""
    order = {pair: i for i, pair in enumerate(merges)}
    parts = [data[i : i + 1] for i in range(len(data))]
    while True:
        pairs = enumerate(pairwise(parts))
        found = [(order[pair], i) for i, pair in pairs if pair in order]
        if not found:
            return parts
        at = min(found)[1]
        parts[at : at + 2] = [parts[at] + parts[at + 1]]


@given(
    st.lists(st.text("abc", min_size=2, max_size=5).map(str.encode), unique=True, max_size=12),
    st.text("abc", max_size=12).map(str.encode),
)
def test_the_merges_encode_as_the_ranks_whatever_their_order(tokens, data):
    """Ranks here are arbitrary: parts may rank behind their whole, as in Llama 3."""
    table = {letter: i for i, letter in enumerate((b"a", b"b", b"c"))}
    table |= {token: 3 + i for i, token in enumerate(tokens)}
    assert encode_by_merges(data, merges_from_ranks(table)) == encode_by_ranks(data, table)


def test_a_token_no_step_arrives_at_has_no_merge():
    table = {b"a": 0, b"b": 1, b"c": 2, b"bc": 3, b"abc": 4, b"ca": 5, b"cab": 6}
    assert last_merge(b"abc", table) == (b"a", b"bc")
    assert last_merge(b"cab", table) == (b"ca", b"b")
    assert last_merge(b"abca", table | {b"abca": 7}) == (b"abc", b"a")
    assert last_merge(b"acb", table | {b"acb": 7}) is None


@pytest.mark.parametrize("pattern", ["gpt2", "cl100k", "o200k", "qwen2", "qwen35", "tekken"])
def test_a_rank_file_encodes_as_tiktoken(pattern, tmp_path):
    table = ranks(json.loads(byte_level_json(pattern)))
    path = write_ranks(tmp_path / "small.tiktoken", table)
    read = read_spec(path, pattern=pattern)
    vocab = Vocab.from_spec(read.spec, read.config, read.name)
    assert vocab.tokens == tuple(table)
    assert_same(vocab, native(table, PATTERNS[pattern][0]), script_texts())
    check_vocab(vocab, script_texts())


def test_a_regular_expression_is_taken_for_a_pattern(tmp_path):
    table = ranks(json.loads(byte_level_json()))
    path = write_ranks(tmp_path / "small.tiktoken", table)
    read = read_spec(path, pattern=r"\s*\S+|\s+")
    assert_same(Vocab.from_spec(read.spec), native(table, r"\s*\S+|\s+"), script_texts())
    with pytest.raises(ValueError, match="Did you mean 'cl100k'"):
        read_spec(path, pattern="cl100")


def test_an_unknown_rank_file_warns_that_its_pattern_is_assumed(tmp_path):
    table = ranks(json.loads(byte_level_json()))
    path = write_ranks(tmp_path / "small.tiktoken", table)
    with pytest.warns(UserWarning, match="cl100k is assumed"):
        vocab = Vocab.open(path)
    assert_same(vocab, native(table, PATTERNS["cl100k"][0]), script_texts())


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("IQ== 0\nIg==\n", "line 2: .* is not a base64 token and its rank"),
        ("IQ== 0\nI!!= 1\n", "line 2"),
        ("IQ== 0\nIg== 0\n", "two tokens share a rank"),
        ("IQ== 0\nIg== 1\n", "lacks 254 of the 256 single bytes"),
    ],
)
def test_a_damaged_rank_file_is_refused_with_its_line(content, sentence, tmp_path):
    path = tmp_path / "bad.tiktoken"
    path.write_text(content)
    with pytest.raises(ValueError, match=sentence):
        read_spec(path, pattern="cl100k")


def tekken(table: dict[bytes, int], **changes: object) -> dict:
    """A tekken file: the single bytes come first, in their order."""
    table = {
        token: i for i, token in enumerate(sorted(table, key=lambda token: (len(token) > 1 and table[token], token)))
    }
    rows = [
        {"rank": rank, "token_bytes": base64.b64encode(token).decode(), "token_str": token.decode("utf-8", "replace")}
        for token, rank in table.items()
    ]
    settings = {
        "pattern": PATTERNS["tekken"][0],
        "num_vocab_tokens": len(rows),
        "default_vocab_size": len(rows) - 50 + 30,
        "default_num_special_tokens": 30,
        "version": "v3",
    }
    return {"config": settings | changes, "vocab": rows}


def test_a_tekken_file_encodes_as_mistral_common(tmp_path):
    from mistral_common.tokens.tokenizers.tekken import Tekkenizer

    path = tmp_path / "tekken.json"
    path.write_text(json.dumps(tekken(ranks(json.loads(byte_level_json("tekken"))))))
    theirs, ours = Tekkenizer.from_file(path), Vocab.open(path)
    assert ours.size == theirs.n_words
    assert ours.specials == {"bos": theirs.bos_id, "eos": theirs.eos_id, "unk": theirs.unk_id, "pad": theirs.pad_id}
    assert ours.special_ids == theirs.special_ids
    for text, ids in zip(script_texts(), ours.encode(script_texts()), strict=True):
        assert ids.tolist() == theirs.encode(text, bos=False, eos=False), text[:80]
    check_vocab(ours, script_texts())


def test_a_damaged_tekken_file_is_refused():
    content = tekken(ranks(json.loads(byte_level_json("tekken"))))
    with pytest.raises(ValueError, match="declares 2,000 ids but holds"):
        spec_from_tekken(tekken({b"a": 0}, default_vocab_size=2000), "t.json")
    del content["config"]["pattern"]
    with pytest.raises(ValueError, match="not a complete tekken file"):
        spec_from_tekken(content, "t.json")


def test_vocab_json_and_merges_txt_open_as_the_library_reads_them(tmp_path):
    from tokenizers.implementations import ByteLevelBPETokenizer

    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(script_texts(), vocab_size=700, special_tokens=["<|endoftext|>"], show_progress=False)
    trained.save_model(str(tmp_path))
    vocab = Vocab.open(tmp_path)
    assert vocab.specials == {"bos": 0, "eos": 0}
    for text, ids in zip(script_texts(), vocab.encode(script_texts()), strict=True):
        assert ids.tolist() == trained.encode(text).ids
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b c\n")
    with pytest.raises(ValueError, match="line 2: 'a b c' is not two parts"):
        Vocab.open(tmp_path)


def load_ranks(path: Path) -> dict[bytes, int]:
    lines = lzma.decompress(path.read_bytes()).splitlines()
    return {base64.b64decode(line.split()[0]): int(line.split()[1]) for line in lines if line}


@pytest.mark.slow  # four published vocabularies of up to 200,000 tokens, against tiktoken on 204 language-scripts
@pytest.mark.parametrize("name", OPENAI)
def test_published_rank_files_encode_as_tiktoken(name, shared_data):
    import tiktoken_ext.openai_public as public

    path = shared_data / "tokenizers" / "openai" / f"{name}.tiktoken.xz"
    table, load = load_ranks(path), public.load_tiktoken_bpe
    public.load_tiktoken_bpe = lambda *_, **__: table
    try:
        settings = getattr(public, name)()
    finally:
        public.load_tiktoken_bpe = load
    encoding, vocab = tiktoken.Encoding(**settings), Vocab.open(path)
    assert vocab.size == OPENAI[name] == encoding.n_vocab
    assert {vocab.literal(i): i for i in vocab.special_ids} == settings["special_tokens"]
    assert all(vocab.tokens[rank] == token for token, rank in table.items())
    texts = [*script_texts(), *flores_texts(shared_data), *udhr_texts(shared_data), *mixture_texts(shared_data)]
    assert_same(vocab, encoding, texts)
    code_points = [f"a{chr(i)}b {chr(i)}" for i in range(0x110000) if not 0xD800 <= i < 0xE000]
    assert_same(vocab, encoding, ["\n".join(code_points[i : i + 64]) for i in range(0, len(code_points), 64)])


@pytest.mark.slow  # a vocabulary of 131,072 tokens from a file of 19 MB
def test_the_published_tekken_file_encodes_as_mistral_common(shared_data, tmp_path):
    from mistral_common.tokens.tokenizers.tekken import Tekkenizer

    packed = shared_data / "tokenizers" / "mistral" / "tekken_240911.json.xz"
    (tmp_path / "tekken.json").write_bytes(lzma.decompress(packed.read_bytes()))
    theirs, ours = Tekkenizer.from_file(tmp_path / "tekken.json"), Vocab.open(packed)
    texts = [*script_texts(), *flores_texts(shared_data), *mixture_texts(shared_data)]
    for text, ids in zip(texts, ours.encode(texts), strict=True):
        assert ids.tolist() == theirs.encode(text, bos=False, eos=False), text[:80]
    assert (ours.kinds == Kind.SPECIAL).sum() == 1000


@pytest.mark.slow  # derives 50,000 merges
def test_the_merges_of_r50k_are_those_of_gpt2_line_for_line(shared_data):
    folder = shared_data / "tokenizers"
    ours = read_spec(folder / "openai" / "r50k_base.tiktoken.xz").spec["model"]["merges"]
    packed = (folder / "gpt2" / "vocab.bpe.xz").read_bytes()
    published = lzma.decompress(packed).decode().split("\n")[1:-1]
    assert [" ".join(pair) for pair in ours] == published
