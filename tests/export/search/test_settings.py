from __future__ import annotations

import pytest

from export.search.settings import (
    SearchSettings,
    check_search,
    check_texts,
    search_settings,
    share_of,
    size_of,
)
from runtime.errors import UserError


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("48MB", 48_000_000),
        (" 48 mb ", 48_000_000),
        ("45.5MiB", 47_710_208),
        ("1.5kB", 1500),
        ("2KiB", 2048),
        ("1GB", 10**9),
        ("7B", 7),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert size_of(text) == size


@pytest.mark.parametrize(
    "text", ["48", "MB", "48 Mb/s", "0MB", "-3MB", "4x8MB", "0.4B", "48%", "∞MB"]
)
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(UserError, match=r"is no size.*KiB.*--budget 48MB"):
        size_of(text)


@pytest.mark.parametrize(("text", "share"), [("0.5%", 0.005), ("0.5", 0.005), (" 2 % ", 0.02)])
def test_shares(text: str, share: float) -> None:
    assert share_of(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["0", "0%", "100%", "1e-3", "half", "-1%", "0.5MB", "nan"])
def test_what_is_no_share(text: str) -> None:
    with pytest.raises(UserError, match="is no share of flips"):
        share_of(text)


def test_the_bounds_together() -> None:
    assert search_settings("", "") is None
    both = search_settings("48MB", "0.5%")
    assert both == SearchSettings(budget=48_000_000, max_flips=0.005)
    assert both is not None
    assert both.wanted == "at most 48.00 MB and at most 0.5% flips by the bound"


def test_too_few_texts_are_told_at_once() -> None:
    """598 texts without a flip show 0.5%: ln(0.05) / ln(0.995) = 597.6."""
    check_texts(0.005, 598)
    check_texts(None, 0)
    with pytest.raises(UserError, match=r"597 texts cannot show.*it takes 598 texts.*TEXTS=FILE"):
        check_texts(0.005, 597)
    with pytest.raises(UserError, match="0 texts cannot show"):
        check_texts(0.5, 0)


def test_what_cannot_be_searched() -> None:
    check_search(["onnx"], vectors=False)
    with pytest.raises(UserError, match="one target, not for onnx, tflite"):
        check_search(["onnx", "tflite"], vectors=False)
    with pytest.raises(UserError, match="no search for sentence vectors"):
        check_search(["onnx"], vectors=True)
