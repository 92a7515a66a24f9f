"""Prompts for a benchmark: beginnings of documents, or of the stories carried in the package."""

from pathlib import Path

N_CARRIED, CARRIED_BYTES = 8, 200


def prompts_of(
    source: str | Path | None = None, *, limit: int | None = None, text: str = "text", n_bytes: int | None = None
) -> list[str]:
    """Documents as prompts.

    Args:
        source: file or folder of documents; None takes carried stories (sampled from the carried model itself), eight
            unless `limit` says otherwise, and their first 200 bytes unless `n_bytes` does.
        limit: at most so many.
        text: column of the text.
        n_bytes: take so many first bytes of each; None leaves documents whole.

    Raises:
        ValueError: no document.
    """
    from tokenry.core.tables import texts
    from tokenry.data import demo_text

    if source is None:
        source, text = demo_text("stories"), "text"
        limit, n_bytes = limit or N_CARRIED, n_bytes or CARRIED_BYTES
    found = [one if n_bytes is None else beginning(one, n_bytes) for one in texts(source, text=text, limit=limit)]
    if not found:
        raise ValueError(f"{source} holds no document; need at least one prompt, better ten.")
    return found


def beginning(text: str, n_bytes: int) -> str:
    """At most so many bytes of a text, cut before a space where there is one (no space at the end)."""
    if len(text.encode()) <= n_bytes:
        return text
    cut = text.encode()[:n_bytes].decode("utf-8", "ignore")
    stop = max((place for place, character in enumerate(cut) if character.isspace()), default=0)
    return cut[:stop].rstrip() or cut
