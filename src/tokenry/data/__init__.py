"""The model and the texts carried inside the package, so that the demonstration needs no download."""

from importlib.resources import files
from pathlib import Path

TEXTS = ("fiction", "stories")


def demo_model() -> Path:
    """Folder of stories260K: a trained Llama of 260,032 parameters and 512 tokens, as Hugging Face files.

    Raises:
        FileNotFoundError: when the package was installed without its data.
    """
    return _existing("stories260k")


def demo_text(name: str) -> Path:
    """Path of a carried text, JSON lines packed with xz, columns id, text, source.

    Args:
        name: "fiction", passages of two public-domain novels (the domain of the demonstration), or "stories",
            sampled from stories260K itself (what the model knows; machine-made).

    Raises:
        ValueError: for another name.
        FileNotFoundError: when the package was installed without its data.
    """
    if name not in TEXTS:
        raise ValueError(f"No carried text is called {name!r}; there are {', '.join(TEXTS)}. Ask for one of these.")
    return _existing(f"demo_text/{name}.jsonl.xz")


def _existing(relative: str) -> Path:
    path = Path(str(files(__name__).joinpath(relative)))
    if not path.exists():
        raise FileNotFoundError(
            f"The carried data {relative} is not at {path}; it belongs to the package. Install tokenry again, "
            "unpacked (not from a zip file)."
        )
    return path
