from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from export.awkward import AWKWARD_TEXTS
from runtime.bundle import Bundle
from runtime.errors import BundleError
from runtime.manifest import PadSide
from runtime.sessions.base import pad_to
from runtime.tokenizer import TextTokenizer, batch_of


@pytest.fixture
def tokenizer(bundle: Bundle) -> TextTokenizer:
    spec = bundle.manifest.tokenizer
    return TextTokenizer(bundle.file(spec.file), spec)


def test_special_tokens_and_case(tokenizer: TextTokenizer) -> None:
    ids = tokenizer.ids("The SKY")
    assert tokenizer.tokens(ids) == ["[CLS]", "the", "sky", "[SEP]"]
    assert tokenizer.tokens(tokenizer.ids("")) == ["[CLS]", "[SEP]"]


@pytest.mark.parametrize("name", sorted(AWKWARD_TEXTS))
def test_any_string_is_accepted(tokenizer: TextTokenizer, bundle: Bundle, name: str) -> None:
    spec = bundle.manifest.tokenizer
    ids = tokenizer.ids(AWKWARD_TEXTS[name])
    assert 2 <= len(ids) <= spec.max_length
    assert ids[0] == 2
    assert ids[-1] == 3
    assert max(ids) < spec.vocab_size


def test_truncation_keeps_the_last_token_and_is_told(tokenizer: TextTokenizer) -> None:
    ids, cut = tokenizer.encode("sky " * 500)
    assert cut
    assert len(ids) == 64
    assert tokenizer.tokens(ids[-1:]) == ["[SEP]"]
    assert tokenizer.encode("sky " * 62)[1] is False
    assert tokenizer.encode("sky " * 63)[1] is True


def test_lone_surrogates_become_the_replacement(tokenizer: TextTokenizer) -> None:
    assert tokenizer.ids("a \ud83d b") == tokenizer.ids("a \ufffd b")


def test_a_tokenizer_that_is_not_the_manifests(bundle: Bundle, tmp_path: Path) -> None:
    spec = bundle.manifest.tokenizer
    with pytest.raises(BundleError, match="the manifest says"):
        TextTokenizer(bundle.file(spec.file), replace(spec, vocab_size=5))
    (tmp_path / "t.json").write_text("{}")
    with pytest.raises(BundleError, match="not a tokenizer file"):
        TextTokenizer(tmp_path / "t.json", spec)


def test_batch_of_pads_on_the_right() -> None:
    ids, mask = batch_of([[2, 3], [2, 9, 9, 3]], pad_id=7)
    assert ids.tolist() == [[2, 3, 7, 7], [2, 9, 9, 3]]
    assert mask.tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]
    assert ids.dtype == mask.dtype == "int32"


def test_batch_of_pads_on_the_left_where_it_is_asked_to() -> None:
    ids, mask = batch_of([[2, 3], [2, 9, 9, 3]], 7, "left")
    assert ids.tolist() == [[7, 7, 2, 3], [2, 9, 9, 3]]
    assert mask.tolist() == [[0, 0, 1, 1], [1, 1, 1, 1]]


@pytest.mark.parametrize(("side", "row"), [("right", [2, 3, 7, 7]), ("left", [7, 7, 2, 3])])
def test_pad_to_fills_up_either_side(side: PadSide, row: list[int]) -> None:
    padded = pad_to(np.array([[2, 3]], np.int32), 4, 7, side)
    assert padded.tolist() == [row]
    assert padded.dtype == "int32"
