"""Is a model folder whole: rows against vocabulary, special tokens, chat template, round trip, finite numbers."""

from collections.abc import Sequence
from pathlib import Path

from tokenry.core.report import Report
from tokenry.core.vocab import Kind, Vocab

PROBES = (
    "The quick brown fox jumps over the lazy dog. 1234567890",
    "Größe, être, niño, naïve; Łódź",
    "Привет, мир! שלום 你好，世界 नमस्ते こんにちは",
    "def f(x):\n\treturn x ** 2  # 👍🏽\n",
)
_ID_KEYS = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")
_LLAMA_CPP = (
    "llama.cpp's converter takes a BPE tokenizer only when the hash of what it makes of a test text is in its list. A "
    "tokenizer made or changed here is not in it: add it there first, as docs/transplant.md shows."
)
_LIST_KEYS = ("suppress_tokens", "begin_suppress_tokens")


def verify(source: object, *, texts: Sequence[str] = PROBES, own_code: bool = False) -> Report:
    """Open a model as a user would and check that its tokenizer, rows and configurations fit together.

    Args:
        source: a model folder, which is reopened by the Auto class of its kind, or an LM.
        texts: what must survive encoding and decoding.
        own_code: run model code that lies in the folder. Only for folders you trust.

    Returns:
        Report of kind "transplant-verify": fact `ok`, and the table `problems` with columns check, problem.

    Raises:
        FileNotFoundError: no such folder. A folder that does not open otherwise is a problem, not an error.
    """
    if isinstance(source, (str, Path)) and not Path(source).is_dir():
        raise FileNotFoundError(f"{source}: no such folder; need a model folder to verify.")
    try:
        lm = _open(source, own_code=own_code)
    except ValueError as error:
        return _report(str(source), [("opens", str(error))], {})
    problems = [*_rows(lm), *_ids(lm), *_template(lm), *_round_trip(lm, texts), *_numbers(lm, texts)]
    embedding, head = _tables(lm)
    facts = {
        "vocab_size": lm.vocab.size,
        "rows": len(embedding),
        "padding_rows": len(embedding) - lm.vocab.size,
        "tied": head is not None and bool(head.data_ptr() == embedding.data_ptr()),
        "texts": len(texts),
    }
    model = getattr(lm.vocab.backend, "model", None)
    return _report(lm.name, problems, facts, notes=[_LLAMA_CPP] if type(model).__name__ == "BPE" else [])


def _open(source: object, *, own_code: bool):
    from tokenry.models.lm import LM
    from tokenry.models.opening import check_model, load_folder

    if not isinstance(source, (str, Path)):
        return LM.open(source)
    model, tokenizer = load_folder(source, own_code=own_code)
    vocab = Vocab.open(tokenizer)
    check_model(model, vocab.size, str(source), causal=False)
    return LM(model, tokenizer, vocab, str(source))


def _tables(lm) -> tuple:
    from tokenry.models.files import accessors

    return tuple(None if module is None else module.weight for module in accessors(lm.model))


def _report(name: str, problems: list[tuple[str, str]], facts: dict, *, notes: Sequence[str] = ()) -> Report:
    import pyarrow as pa

    columns = {key: pa.array([p[n] for p in problems], pa.string()) for n, key in enumerate(("check", "problem"))}
    verdict = f"{len(problems)} problem(s): {problems[0][1]}" if problems else "Everything that was checked fits."
    facts = {"ok": not problems, "n_problems": len(problems), **facts}
    tables = {"problems": pa.table(columns)}
    title = f"{Path(name).name}: verified"
    return Report("transplant-verify", title, facts=facts, tables=tables, verdict=verdict, notes=list(notes))


def _rows(lm) -> list[tuple[str, str]]:
    n_input, n_head = (len(lm.model.get_input_embeddings().weight) if t is None else len(t) for t in _tables(lm))
    declared = lm.model.config.get_text_config().vocab_size
    found = []
    if n_input < lm.vocab.size or n_head < lm.vocab.size:
        found.append(("rows", f"{n_input} input and {n_head} head rows for {lm.vocab.size} ids"))
    if not n_input == n_head == declared:
        found.append(("rows", f"{n_input} input rows, {n_head} head rows, vocab_size {declared} in the configuration"))
    return found


def _ids(lm) -> list[tuple[str, str]]:
    found = []
    configs = {"config": lm.model.config.get_text_config()}
    generation = getattr(lm.model, "generation_config", None)
    configs |= {} if generation is None else {"generation config": generation}
    n_rows = len(lm.model.get_input_embeddings().weight)
    for name, config in configs.items():
        for key in _ID_KEYS:
            for i in _listed(getattr(config, key, None)):
                if not 0 <= i < lm.vocab.size:
                    found.append(("special ids", f"{name}: {key} {i} is outside the {lm.vocab.size} ids"))
                elif lm.vocab.kinds[i] == Kind.UNUSED:
                    found.append(("special ids", f"{name}: {key} {i} is an id without a token"))
        for key in _LIST_KEYS:
            if any(not 0 <= i < n_rows for i in _listed(getattr(config, key, None))):
                found.append(("special ids", f"{name}: {key} names ids outside the {n_rows} rows"))
    eos = lm.vocab.specials.get("eos")
    stops = _listed(getattr(generation, "eos_token_id", None)) or _listed(configs["config"].eos_token_id)
    if eos is not None and generation is not None and eos not in stops:
        found.append(("special ids", f"generation does not stop at the tokenizer's eos {eos}, but at {stops}"))
    for role, i in lm.vocab.specials.items():
        named = getattr(lm.tokenizer, f"{role}_token_id", None)
        if named is not None and named != i:
            found.append(("special ids", f"{role} is {i} in the vocabulary and {named} in the tokenizer"))
    return found


def _listed(value: object) -> list[int]:
    if value is None:
        return []
    return [int(i) for i in value] if isinstance(value, (list, tuple)) else [int(value)]


def _template(lm) -> list[tuple[str, str]]:
    if not lm.tokenizer.chat_template:
        return []
    chat = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}]
    try:
        text = lm.tokenizer.apply_chat_template(chat, tokenize=False)
        ids = lm.tokenizer(text, add_special_tokens=False)["input_ids"]
    except Exception as error:
        return [("chat template", f"the chat template does not render: {type(error).__name__}: {error}")]
    unk = lm.vocab.specials.get("unk")
    return [("chat template", "the rendered chat holds unknown tokens")] if unk is not None and unk in ids else []


def _round_trip(lm, texts: Sequence[str]) -> list[tuple[str, str]]:
    found = []
    for text, ids in zip(texts, lm.vocab.encode(list(texts)), strict=True):
        shown = repr(text if len(text) <= 40 else text[:37] + "...")
        ours = lm.tokenizer(text, add_special_tokens=False)["input_ids"]
        if list(ours) != ids.tolist():
            found.append(("round trip", f"the saved tokenizer and the vocabulary cut {shown} differently"))
        if not _survives(lm.vocab, text, ids):
            found.append(("round trip", f"{shown} does not come back from its tokens"))
    return found


def _survives(vocab: Vocab, text: str, ids) -> bool:
    """Bytes of the encoding spell the normalised text, spaces at the ends and unknown tokens aside."""
    if any(vocab.kinds[i] >= Kind.SPECIAL for i in ids.tolist()):
        return True
    normaliser = vocab.backend.normalizer
    wanted = (normaliser.normalize_str(text) if normaliser else text).replace("▁", " ")
    spelled = vocab.decode_bytes(ids).decode("utf-8", "replace").replace("▁", " ")
    if vocab.family in ("byte-level", "metaspace"):
        return spelled.strip() == wanted.strip()
    return "".join(spelled.split()) == "".join(wanted.split())


def _numbers(lm, texts: Sequence[str]) -> list[tuple[str, str]]:
    import torch

    start = [lm.bos] if lm.bos is not None else []
    ids = [*start, *lm.vocab.encode([texts[0] if texts else "a"])[0].tolist()][:64]
    if not ids:
        return []
    given = {"input_ids": torch.tensor([ids], device=lm.device)}
    if getattr(lm.model.config, "is_encoder_decoder", False):
        given["decoder_input_ids"] = given["input_ids"]
    with torch.inference_mode():
        output = lm.model(**given)
    # A model without a head gives hidden states.
    numbers = output.logits[..., : lm.vocab.size] if hasattr(output, "logits") else output[0]
    if torch.isfinite(numbers).all():
        return []
    return [("numbers", "the logits of a short text are not finite")]
