"""Real multilingual text for the benches: Debian's documentation packages, one text file a language and package.

    python bench/corpus.py --mb 100

The packages come through `apt-get download` (no root, nothing is installed) and are kept in `~/.cache/tokenry-bench`
(or `$TOKENRY_BENCH_CACHE`), with the text made from them. A paragraph is kept only where it first occurs, English
first, so that untranslated paragraphs do not make every language partly English. Licences: debian-handbook GPL-2+ or
CC BY-SA 3.0, gnome-user-docs CC BY-SA 3.0, libreoffice-help MPL-2.0.
"""

import argparse
import hashlib
import html
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

# Order matters: the files for N megabytes are always the first files of this list.
# fmt: off
HELP_LANGUAGES = [
    "en-us", "de", "fr", "ru", "ja", "zh-cn", "es", "tr", "el", "ko", "hi", "pl", "pt-br", "it",
    "vi", "hu", "cs", "fi", "nl", "sv", "id", "ca", "da", "gl", "eu", "et", "sk",
    "sl", "km", "dz", "zh-tw", "om",
]
# fmt: on
ENGLISH_HELP = "libreoffice-help-en-us"
PACKAGES = ["debian-handbook", "gnome-user-docs"] + [f"libreoffice-help-{code}" for code in HELP_LANGUAGES]

_DROP = re.compile(r"(?is)<(script|style|head|header|aside|nav|info|mal:credit)\b.*?</\1\s*>|<!--.*?-->|<\?.*?\?>")
_BREAK = re.compile(
    r"(?i)</?(p|div|h[1-6]|li|ul|ol|dl|dt|dd|td|tr|table|pre|br|title|item|section|note|screen|code)\b[^>]*>"
)
_TAG = re.compile(r"(?s)<[^>]*>")
_SPACES = re.compile(r"[ \t\r\f\v]*\n[ \t\r\f\v\n]*")


def cache_folder() -> Path:
    """Where packages and texts are kept between runs."""
    return Path(os.environ.get("TOKENRY_BENCH_CACHE", Path.home() / ".cache" / "tokenry-bench"))


def corpus(min_mb: float) -> list[Path]:
    """Text files (UTF-8, paragraphs separated by blank lines) of together at least `min_mb` million bytes.

    The files are downloaded and made on the first call and found in the cache later; the list for a size is always
    the same. Raises RuntimeError when `apt-get` is missing or all packages together are smaller than asked.
    """
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    files: list[Path] = []
    total = 0
    for package in PACKAGES:
        for file in _package_texts(package, folder):
            files.append(file)
            total += file.stat().st_size
            if total >= min_mb * 1e6:
                return files
    raise RuntimeError(f"{min_mb} MB asked, the {len(PACKAGES)} packages hold {total / 1e6:.0f} MB of text.")


def _package_texts(package: str, folder: Path) -> list[Path]:
    """The text files of one package, made when they are not there yet."""
    made = folder / "text" / package
    if not made.is_dir():
        print(f"bench corpus: making {package}", file=sys.stderr)
        beside = folder / f"making-{package}-{os.getpid()}"
        unpacked = _unpack(package, folder)
        beside.mkdir()
        seen: set[bytes] = set()
        if package.startswith("libreoffice-help-") and package != ENGLISH_HELP:
            for file in _package_texts(ENGLISH_HELP, folder):
                seen.update(_key(paragraph) for paragraph in file.read_text(encoding="utf-8").split("\n\n"))
        try:
            _write_texts(unpacked, beside, seen)
            made.parent.mkdir(exist_ok=True)
            if not made.is_dir():
                beside.rename(made)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
            shutil.rmtree(unpacked, ignore_errors=True)
    return sorted(made.glob("*.txt"), key=lambda file: (_language_order(file.stem), file.name))


def _unpack(package: str, folder: Path) -> Path:
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise RuntimeError("The bench corpus comes from Debian packages; this machine has no apt-get / dpkg-deb.")
    debs = sorted(folder.glob(f"{package}_*.deb"))
    if not debs:
        # The sandbox user of apt may not write into a home folder; as root that is only a warning, so it is turned off.
        command = ["apt-get", "-o", "APT::Sandbox::User=root", "download", package]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        debs = sorted(folder.glob(f"{package}_*.deb"))
    unpacked = folder / f"unpacked-{package}-{os.getpid()}"
    subprocess.run(["dpkg-deb", "-x", str(debs[-1]), str(unpacked)], check=True)
    return unpacked


def _write_texts(unpacked: Path, out: Path, seen: set[bytes]) -> None:
    """One file a language. A paragraph counts once over all languages: the first one (English) keeps it."""
    languages: dict[str, list[Path]] = {}
    for file in sorted(unpacked.rglob("*")):
        if file.suffix in (".html", ".page") and file.is_file() and not file.is_symlink():
            languages.setdefault(_language(file, unpacked), []).append(file)
    for language in sorted(languages, key=_language_order):
        with open(out / f"{language}.txt", "w", encoding="utf-8") as sink:
            for file in languages[language]:
                for paragraph in _paragraphs(file.read_text(encoding="utf-8", errors="replace")):
                    key = _key(paragraph)
                    if key not in seen:
                        seen.add(key)
                        sink.write(paragraph + "\n\n")


def _key(paragraph: str) -> bytes:
    return hashlib.blake2b(paragraph.encode(), digest_size=8).digest()


def _language(file: Path, root: Path) -> str:
    """The language folder in .../html/de-DE/..., .../help/de/...; "C" is GNOME's name of English."""
    parts = file.relative_to(root).parts
    for mark in ("html", "help"):
        if mark in parts[:-2]:
            language = parts[parts.index(mark) + 1]
            return "en" if language == "C" else language
    return "other"


def _language_order(language: str) -> tuple[int, str]:
    return (0 if language.lower().startswith("en") else 1, language)


def _paragraphs(page: str) -> Iterator[str]:
    text = _BREAK.sub("\n", _DROP.sub(" ", page))
    text = html.unescape(_TAG.sub("", text)).replace("\u00a0", " ")
    for line in _SPACES.sub("\n", text).split("\n"):
        line = " ".join(line.split())
        # Menu entries and buttons; a sentence is longer, also in Chinese.
        if len(line) >= 12:
            yield line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mb", type=float, default=100, help="at least so many million bytes")
    for file in corpus(parser.parse_args().mb):
        print(f"{file.stat().st_size / 1e6:8.2f} MB  {file}")


if __name__ == "__main__":
    main()
