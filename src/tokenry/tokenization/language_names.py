"""English names of languages by ISO 639 code, for pages that people read; unknown codes stay codes."""

_NAMES = """
afr Afrikaans|amh Amharic|arb Arabic|ara Arabic|asm Assamese|aze Azerbaijani|azj Azerbaijani|bel Belarusian|ben Bengali
bod Tibetan|bul Bulgarian|cat Catalan|ces Czech|cmn Mandarin|cym Welsh|dan Danish|deu German|dzo Dzongkha|ell Greek
eng English|epo Esperanto|est Estonian|eus Basque|fas Persian|fin Finnish|fra French|gle Irish|glg Galician|guj Gujarati
hau Hausa|heb Hebrew|hin Hindi|hrv Croatian|hun Hungarian|hye Armenian|ibo Igbo|ind Indonesian|isl Icelandic|ita Italian
jav Javanese|jpn Japanese|kan Kannada|kat Georgian|kaz Kazakh|khk Mongolian|khm Khmer|kin Kinyarwanda|kor Korean|lao Lao
lat Latin|lit Lithuanian|lvs Latvian|mal Malayalam|mar Marathi|mkd Macedonian|mya Burmese|nld Dutch|nob Norwegian
npi Nepali|ory Odia|pan Punjabi|pes Persian|pol Polish|por Portuguese|ron Romanian|rus Russian|sin Sinhala|slk Slovak
shn Shan|slv Slovenian|som Somali|spa Spanish|srp Serbian|swe Swedish|swh Swahili|swa Swahili|tam Tamil|tel Telugu
tgl Tagalog|tha Thai|tur Turkish|uig Uyghur|ukr Ukrainian|urd Urdu|uzn Uzbek|vie Vietnamese|wol Wolof|xho Xhosa
yor Yoruba|zho Chinese|zsm Malay|zul Zulu
ar Arabic|bn Bengali|ca Catalan|cs Czech|da Danish|de German|el Greek|en English|es Spanish|et Estonian|eu Basque
fa Persian|fi Finnish|fr French|he Hebrew|hi Hindi|hr Croatian|hu Hungarian|id Indonesian|it Italian|ja Japanese
ka Georgian|ko Korean|lt Lithuanian|lv Latvian|nl Dutch|no Norwegian|pl Polish|pt Portuguese|ro Romanian|ru Russian
sk Slovak|sl Slovenian|sr Serbian|sv Swedish|sw Swahili|ta Tamil|te Telugu|th Thai|tr Turkish|uk Ukrainian|ur Urdu
vi Vietnamese|zh Chinese
"""
NAMES = dict(entry.strip().split(" ", 1) for line in _NAMES.strip().split("\n") for entry in line.split("|"))
_SCRIPTS = {"Hans": "simplified", "Hant": "traditional"}


def language_name(code: str) -> str:
    """ "eng_Latn" is "English", "zho_Hant" is "Chinese (traditional)"; what is no known code stays as it is."""
    head, _, script = code.replace("-", "_").partition("_")
    name = NAMES.get(head.casefold())
    if name is None or (script and len(script) != 4):
        return code
    usual = {"Latn", "Cyrl", "Arab", "Grek", "Armn", "Geor", "Hebr", "Deva", "Beng", "Taml", "Telu", "Thai", "Mymr"}
    usual |= {"Khmr", "Ethi", "Jpan", "Hang", "Tibt", "Gujr", "Guru", "Knda", "Mlym", "Sinh", "Orya", "Laoo", ""}
    return name if script in usual else f"{name} ({_SCRIPTS.get(script, script)})"
