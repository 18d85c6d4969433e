from __future__ import annotations

import json
import unicodedata
from importlib.resources import files

import pytest

from export.awkward import AWKWARD_CORPUS, AWKWARD_TEXTS, AWKWARD_VERSION, corpus_sha256
from runtime.bundle import Bundle
from runtime.golden import AWKWARD, read_golden

# Version of the corpus → SHA-256 of its names and texts. A changed text needs a new version, and a
# new line here; an old line never changes.
PUBLISHED = {2: "3f486837552a819347e375311976ef1f745fef8a47520e650e5312ffb49e94e2"}


def test_a_changed_text_needs_a_new_version() -> None:
    assert corpus_sha256() == PUBLISHED[AWKWARD_VERSION]
    assert max(PUBLISHED) == AWKWARD_VERSION


def test_the_file_is_ascii_and_every_text_has_a_name_and_a_reason() -> None:
    raw = (files("export.awkward") / "corpus.json").read_bytes()
    assert raw.isascii()
    rows = json.loads(raw)["texts"]
    assert all(set(row) <= {"name", "reason", "text", "times"} for row in rows)
    assert len(AWKWARD_TEXTS) == len(AWKWARD_CORPUS) == len(rows)
    assert len(set(AWKWARD_TEXTS.values())) == len(rows), "no text twice"
    for entry in AWKWARD_CORPUS:
        assert entry.name.isidentifier()
        assert entry.name == entry.name.lower()
        assert 10 <= len(entry.reason) <= 100, entry.name
        assert "\n" not in entry.reason


def _has(*parts: str) -> bool:
    return all(any(part in text for text in AWKWARD_TEXTS.values()) for part in parts)


def test_every_kind_that_the_issue_names_is_there() -> None:
    texts = AWKWARD_TEXTS
    assert texts["empty"] == ""
    assert texts["space"] == " "
    assert {len(text) for text in texts.values()} >= {
        0,
        1,
        10_000,
        1000,
        99,
        100,
        101,
        199,
        200,
        201,
    }
    assert unicodedata.normalize("NFD", texts["accents_nfc"]) == texts["accents_nfd"]
    assert unicodedata.normalize("NFD", texts["vietnamese_nfc"]) == texts["vietnamese_nfd"]
    assert _has(
        "\u4e0d", "\u0130", "\u0131", "\u0142", "\u200d", "\U0001f600", "\x00", "[CLS]", "\x07"
    )
    assert _has("b" * 100 + " " + "b" * 100)
    lone = [t for t in texts.values() if any("\ud800" <= c <= "\udfff" for c in t)]
    assert len(lone) >= 4


@pytest.mark.parametrize(
    "part",
    [
        "\u200e", "\u2067", "\u202e", "\ufe0e", "\ufe0f", "\U000e0100", "\U0001f1eb", "\u1169",
        "\u2028", "\u2029", "\u0085", "\u00ad", "\u3000", "\u01c5", "\u03c2", "\ufb01", "\u0378",
        "\ue000", "\ufeff", "\t", "\r\n", "?!" * 300, "\u597d\u4e0d\u9519" , "\U0001f600" * 1000,
        "\u2009", "\u202f", "[SEP]", "\ufffd",
    ],
)  # fmt: skip
def test_every_kind_of_character_is_there(part: str) -> None:
    assert _has(part), ascii(part)


def test_the_bundle_holds_them_all_and_says_which_version(bundle: Bundle) -> None:
    golden = read_golden(bundle.path / "golden.json")
    assert golden.awkward_version == AWKWARD_VERSION
    held = {golden.cases[i].name: golden.cases[i].text for i in golden.rows(AWKWARD)}
    for name, text in AWKWARD_TEXTS.items():
        assert held[f"awkward/{name}"] == text
