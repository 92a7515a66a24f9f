"""tokenry: everything between raw data and a foundation model at the level of tokens.

`import tokenry` is light: rooms and the three front functions load when first used.
"""

from importlib import import_module

__version__ = "0.1.0"

_FRONT = {
    "read": "tokenry.core.tables:read",
    "load": "tokenry.models.lm:load",
    "adapt": "tokenry.transplant.adapt:adapt",
    "Report": "tokenry.core.report:Report",
    "Vocab": "tokenry.core.vocab:Vocab",
}
_ROOMS = ("core", "models", "worlds", "tokenization", "transplant", "decoding", "data")
__all__ = [*_FRONT, *_ROOMS, "__version__"]


def __getattr__(name: str):
    if name in _FRONT:
        module, _, attribute = _FRONT[name].partition(":")
        return getattr(import_module(module), attribute)
    if name in _ROOMS:
        return import_module(f"tokenry.{name}")
    raise AttributeError(f"module 'tokenry' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
