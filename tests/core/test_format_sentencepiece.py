import io
import lzma
import math

import pytest
import sentencepiece
from sample_texts import flores_texts, mixture_texts, script_texts, udhr_texts
from sample_vocabularies import sentencepiece_model
from sentencepiece import sentencepiece_model_pb2

from tokenry.core.format_sentencepiece import USER_DEFINED, sentencepiece_spec, spec_from_sentencepiece
from tokenry.core.vocab import Kind, Vocab, check_vocab

DEFINED = ("<sep>", "日本", "ab  c")
EDGES = [
    *("<sep>", "a<sep>b <sep> x", "<sep><sep>", "日本語 x 日本", " 日本", "ab  c", "xab  cx"),
    *("▁", "▁▁ a ▁", "a  ", "　a　", "\t\n", "ＡＢ", "<0x41>", "x<0x0A>"),
]


def open_model(proto: bytes, **config: object) -> Vocab:
    return Vocab.from_spec(*spec_from_sentencepiece(proto, "small.model", config))


def assert_same(vocab: Vocab, proto: bytes, texts: list[str]) -> None:
    """Equal ids; for Unigram, in at most 3 % of the texts, other pieces whose scores add up to the same.

    SentencePiece adds in 32 bits and the library in 64: which of two equally good paths wins is rounding.
    """
    processor = sentencepiece.SentencePieceProcessor(model_proto=proto)
    n_tied = 0
    for text, ours, theirs in zip(texts, vocab.encode(texts), processor.encode(texts), strict=True):
        if vocab.family == "unigram" and ours.tolist() != theirs:
            n_tied += 1
            scores = [sum(processor.get_score(i) for i in ids) for ids in (ours.tolist(), theirs)]
            assert math.isclose(*scores, rel_tol=1e-6), text[:80]
            assert vocab.decode_bytes(ours) == vocab.decode_bytes(theirs)
            continue
        assert ours.tolist() == theirs, (text[:80], processor.id_to_piece(theirs)[:12])
    assert n_tied <= 0.03 * len(texts)


@pytest.mark.parametrize("rule", ["identity", "nmt_nfkc", "nmt_nfkc_cf"])
@pytest.mark.parametrize("kind", ["bpe", "unigram"])
@pytest.mark.parametrize("byte_fallback", [True, False])
@pytest.mark.parametrize("defined", [(), DEFINED])
def test_a_model_encodes_as_sentencepiece(kind, rule, byte_fallback, defined):
    options = {"normalization_rule_name": rule, "byte_fallback": byte_fallback, "user_defined_symbols": defined}
    proto = sentencepiece_model(kind, **options)
    vocab = open_model(proto)
    assert_same(vocab, proto, script_texts() + EDGES)
    check_vocab(vocab, script_texts())
    assert vocab.family == {"bpe": "metaspace", "unigram": "unigram"}[kind]
    assert (vocab.kinds == Kind.BYTE).sum() == 256 * byte_fallback


@pytest.mark.parametrize("kind", ["bpe", "unigram", "char"])
@pytest.mark.parametrize("dummy", [True, False])
@pytest.mark.parametrize("squeeze", [True, False])
def test_the_space_rules_are_those_of_sentencepiece(kind, dummy, squeeze):
    proto = sentencepiece_model(
        kind, add_dummy_prefix=dummy, remove_extra_whitespaces=squeeze, user_defined_symbols=DEFINED
    )
    assert_same(open_model(proto), proto, script_texts() + EDGES)


def test_ids_bytes_kinds_and_scores_are_those_of_the_file():
    proto = sentencepiece_model("bpe", byte_fallback=True)
    vocab, processor = open_model(proto), sentencepiece.SentencePieceProcessor(model_proto=proto)
    assert vocab.size == processor.vocab_size()
    assert vocab.specials == {"bos": 1, "eos": 2, "unk": 0}
    for i in range(vocab.size):
        assert vocab.literal(i) == processor.id_to_piece(i)
        assert (vocab.kinds[i] == Kind.BYTE) == processor.is_byte(i)
        assert (vocab.kinds[i] == Kind.SPECIAL) == (processor.is_control(i) or processor.is_unknown(i))
        assert math.isclose(vocab.scores[i], processor.get_score(i), rel_tol=1e-6)
    assert vocab.tokens[processor.piece_to_id("<0x0A>")] == b"\n"
    assert vocab.tokens[processor.piece_to_id("▁t")] == b" t"


def test_bos_is_added_where_the_config_beside_says_so():
    proto = sentencepiece_model("bpe", byte_fallback=True)
    assert open_model(proto).backend.encode("a").ids == open_model(proto).encode(["a"])[0].tolist()
    for config in ({"add_bos_token": True}, {"tokenizer_class": "LlamaTokenizer"}):
        assert open_model(proto, **config).backend.encode("a").ids[0] == 1
    both = open_model(proto, add_bos_token=True, add_eos_token=True).backend.encode("a").ids
    assert (both[0], both[-1]) == (1, 2)


def test_the_name_of_a_control_piece_in_a_text_is_matched_and_that_is_the_only_difference():
    proto = sentencepiece_model("bpe", byte_fallback=True)
    processor = sentencepiece.SentencePieceProcessor(model_proto=proto)
    ours = open_model(proto).encode(["a</s>b c"])[0].tolist()
    assert ours == [*processor.encode("a"), processor.eos_id(), *processor.encode("b c")]


def altered(kind: str, change) -> bytes:
    model = sentencepiece_model_pb2.ModelProto()
    model.ParseFromString(sentencepiece_model(kind, byte_fallback=True))
    change(model)
    return model.SerializeToString()


def test_what_a_tokenizer_json_cannot_express_is_refused():
    def suffix(model):
        model.trainer_spec.treat_whitespace_as_suffix = True

    def plain_spaces(model):
        model.normalizer_spec.escape_whitespaces = False

    def words(model):
        model.trainer_spec.model_type = 3

    for change, sentence in ((suffix, "whitespace_as_suffix"), (plain_spaces, "escape_wh"), (words, "word model")):
        with pytest.raises(ValueError, match=sentence):
            open_model(altered("bpe", change))


def test_a_truncated_or_foreign_protobuf_is_refused():
    proto = sentencepiece_model("bpe", byte_fallback=True)
    with pytest.raises(ValueError, match="not a complete SentencePiece model"):
        open_model(proto[: len(proto) // 2])
    with pytest.raises(ValueError, match=r"no SentencePiece pieces|not a complete"):
        open_model(b"")


def test_differences_that_remain_are_counted_in_notes():
    pieces = [("<unk>", 0.0, 2), *((letter, -9.0, 1) for letter in "abcd"), ("ab", -1.0, 1), ("bc", -1.0, 1)]
    _, config = sentencepiece_spec(pieces, unigram=False, special={0: "<unk>"}, unknown=0)
    assert config["conversion_notes"] == [
        "2 pieces share a score with another: where two compete the library may join another first"
    ]
    pieces = [("<unk>", 0.0, 2), ("a", -9.0, 1), ("ax", -1.0, 1), ("aa", -2.0, 5)]
    _, config = sentencepiece_spec(pieces, unigram=False, special={0: "<unk>"}, unknown=0)
    assert len(config["conversion_notes"]) == 2
    assert config["unused_token_ids"] == [3]
    vocab = Vocab.from_spec(*sentencepiece_spec(pieces, unigram=False, special={0: "<unk>"}, unknown=0))
    assert vocab.kinds.tolist() == [Kind.SPECIAL, Kind.NORMAL, Kind.NORMAL, Kind.UNUSED]


def test_a_run_of_equal_scores_grows_from_the_left_as_there():
    def add_runs(model):
        for length in (2, 3, 4, 6, 8):
            model.pieces.add(piece="▁" * length, score=-1e9, type=1)

    proto = altered("bpe", add_runs)
    assert_same(open_model(proto), proto, [f"a{' ' * n}b{' ' * m}" for n in range(40) for m in range(3)])


@pytest.mark.slow  # real vocabularies of 32,000 pieces against sentencepiece on 204 language-scripts
@pytest.mark.parametrize("name", ["tokenizer.model.v1", "mistral_instruct_tokenizer_240323.model.v3"])
def test_the_mistral_models_encode_as_sentencepiece(name, shared_data):
    path = shared_data / "tokenizers" / "mistral" / f"{name}.xz"
    proto, vocab = lzma.decompress(path.read_bytes()), Vocab.open(path)
    assert vocab.config["conversion_notes"] == []
    model = sentencepiece_model_pb2.ModelProto()
    model.ParseFromString(proto)
    defined = [piece.piece for piece in model.pieces if piece.type == USER_DEFINED]
    plain = [piece.piece for piece in model.pieces if piece.type == 1]
    texts = [*script_texts(), *flores_texts(shared_data), *udhr_texts(shared_data), *mixture_texts(shared_data)]
    texts += [*plain, *defined, *(f"a {text}{text} b" for text in defined), *(" " * n + "x" for n in range(100))]
    assert_same(vocab, proto, texts)


@pytest.mark.slow  # trains six models of 6,000 pieces on 204 language-scripts
@pytest.mark.parametrize("rule", ["identity", "nmt_nfkc", "nmt_nfkc_cf"])
@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_models_of_many_scripts_encode_as_sentencepiece(kind, rule, shared_data):
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(flores_texts(shared_data, per_language=30)),
        model_writer=out,
        model_type=kind,
        normalization_rule_name=rule,
        vocab_size=6000,
        byte_fallback=True,
        character_coverage=0.98,
        num_threads=1,
        minloglevel=2,
    )
    texts = [*script_texts(), *flores_texts(shared_data, per_language=5), *mixture_texts(shared_data)]
    assert_same(open_model(out.getvalue()), out.getvalue(), texts)
