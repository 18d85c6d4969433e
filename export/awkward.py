"""Texts that break tokenizers and models: a fixed list, part of every golden set."""

from __future__ import annotations

from tokenizers import Tokenizer

from runtime.manifest import TokenizerSpec

AWKWARD_VERSION = 1

AWKWARD_TEXTS: dict[str, str] = {
    "empty": "",
    "space": " ",
    "spaces_and_breaks": " \t\r\n \u00a0\u2003\u3000 ",
    "one_letter": "a",
    "one_mark": "?",
    "one_digit": "7",
    "ten_thousand_characters": "The quick brown fox did not jump over the lazy dog, but it tried. "
    * 152,
    "one_word_of_1000": "a" * 1000,
    "word_of_100": "b" * 100,
    "word_of_101": "b" * 101,
    "repeated": "no no no no no no no no no no no no",
    "capitals": "THIS IS NOT GOOD, NOT AT ALL",
    "accents_nfc": "caf\u00e9 na\u00efve \u00fcber \u00c5ngstr\u00f6m",
    "accents_nfd": "cafe\u0301 nai\u0308ve u\u0308ber A\u030angstro\u0308m",
    "many_marks": "e" + "\u0301\u0323\u0308" * 20,
    "turkish": "\u0130stanbul \u0131l\u0131k I\u011fd\u0131r",
    "polish": "Za\u017c\u00f3\u0142\u0107 g\u0119\u015bl\u0105 ja\u017a\u0143 \u0141\u00d3D\u0179",
    "german": "Stra\u00dfe STRASSE \u1e9e",
    "greek_final_sigma": "\u039f\u0394\u03a5\u03a3\u03a3\u0395\u03a5\u03a3 \u03cc\u03c2",
    "cyrillic": "\u041d\u0435 \u0440\u0430\u0431\u043e\u0442\u0430\u0435\u0442, \u0451\u043b",
    "chinese": "\u8fd9\u4e2a\u4ea7\u54c1\u4e0d\u9519",
    "japanese": "\u3053\u308c\u306f\u30da\u30f3\u3067\u3059",
    "korean": "\uc88b\uc544\uc694",
    "hangul_jamo": "\u110c\u1169\u1103\u1161",
    "arabic": "\u0644\u064a\u0633 \u062c\u064a\u062f\u0627\u064b",
    "hebrew": "\u05dc\u05d0 \u05d8\u05d5\u05d1",
    "thai": "\u0e44\u0e21\u0e48\u0e14\u0e35\u0e40\u0e25\u0e22",
    "devanagari": "\u0905\u091a\u094d\u091b\u093e \u0928\u0939\u0940\u0902",
    "emoji": "great \U0001f600 awful \U0001f621",
    "emoji_zwj": "family \U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 trip",
    "emoji_skin_and_flag": "\U0001f44d\U0001f3fd \U0001f1f5\U0001f1f1 \u2764\ufe0f",
    "astral_letters": "\U0001d54a\U0001d560 \U0001d7d9 \U00020bb7",
    "fullwidth": "\uff27\uff2f\uff2f\uff24 \uff11\uff12\uff13\uff01",
    "ligatures": "\ufb01ne o\ufb03ce \u0133",
    "lone_high_surrogate": "before \ud83d after",
    "lone_low_surrogate": "before \ude00 after",
    "nul": "before\x00after",
    "controls": "a\x01b\x07c\x1bd\x7fe\u0085f",
    "format_characters": "zero\u200bwidth soft\u00adhyphen \ufeffbom \u202eright-to-left",
    "private_use": "\ue000 \uf8ff \U000f0000",
    "unassigned": "\u0378 \u0560 \U0001fadf",
    "noncharacters": "\ufdd0 \ufffe \uffff",
    "replacement": "lost \ufffd sign",
    "literal_special_tokens": "[CLS] good [SEP] bad [PAD] [MASK] [UNK]",
    "almost_special": "[cls] [CLS [ CLS ] CLS]",
    "subword_marks": "##ing ## play##ing",
    "punctuation": "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~",
    "typographic": "\u201cquoted\u201d \u2014 it\u2019s \u2026 \u00ab\u00bb \u2013 \u20ac100",
    "numbers": "3.14159 1,000,000 1e-9 0x7F 12:30 2026-11-21",
    "url_and_mail": "see https://example.org/a?b=c&d=%20 or mail me@example.org #tag @user",
    "html": "<b>not</b> &amp; <script>alert('x')</script>",
    "code": "for (int i = 0; i < n; ++i) { s += a[i]; }",
    "path": "C:\\temp\\new.txt ../../etc/passwd %s %n {0} ${HOME}",
}


def edge_texts(
    tokenizer: Tokenizer, spec: TokenizerSpec, lengths: tuple[int, ...]
) -> dict[str, str]:
    """Texts whose ids number exactly n − 1, n and n + 1 for every sequence length n.

    Built by repeating a word that is one token, so that every length of an artifact is exercised.
    Beyond max_length the text is cut, which is the point of it.
    """
    word = _one_token_word(tokenizer, spec)
    texts = {}
    for length in lengths:
        for ids in (length - 1, length, length + 1):
            if ids >= 3:
                texts[f"ids_{ids}"] = " ".join([word] * (ids - 2))
    return texts


def _one_token_word(tokenizer: Tokenizer, spec: TokenizerSpec) -> str:
    """The first plain word of the vocabulary that becomes one token, in the order of ids."""
    vocab = sorted(tokenizer.get_vocab(with_added_tokens=False).items(), key=lambda item: item[1])
    candidates = (token for token, _ in vocab if token.isascii() and token.isalpha())
    for token in candidates:
        ids = tokenizer.encode(f"{token} {token}", add_special_tokens=False).ids
        if len(ids) == 2 and tokenizer.token_to_id(spec.unk_token) not in ids:
            return token
    return "."
