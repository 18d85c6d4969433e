"""The trace in the terminal and as a page."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from export.checkpoint import Checkpoint
from export.tracing import LabelStep, TextTrace, trace_text
from export.tracing.page import trace_page
from export.tracing.page_script import SCRIPT
from export.tracing.terminal import terminal_parts
from runtime.errors import UserError

Family = Callable[[str], Checkpoint]
EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(1)> \" ' & \u202e abc"


def printed(trace: TextTrace, *, colours: bool = False, **options: int) -> str:
    stream = io.StringIO()
    console = Console(
        file=stream,
        width=110,
        force_terminal=colours,
        color_system="truecolor" if colours else None,
    )
    for part in terminal_parts(trace, **options):
        console.print(part)
    return stream.getvalue()


def tree(page: str) -> ET.Element:
    return ET.fromstring(page.removeprefix("<!DOCTYPE html>\n"))


def by_id(page: str, name: str) -> ET.Element:
    found = tree(page).find(f".//*[@id='{name}']")
    assert found is not None
    return found


# --- terminal


def test_the_terminal_says_every_step_without_colours(rainy: TextTrace) -> None:
    text = printed(rainy)
    assert "\x1b" not in text
    for wanted in (
        "The lake is WET again, they say",
        "the | lake | is",
        "[CLS]",
        "◂ classified",
        "embeddings.word_embeddings",
        f"1 x {len(rainy.tokens)} x 64",
        "block 2",
        "encoder's vector",
        "softmax",
        "given",
    ):
        assert wanted in text
    for token in rainy.tokens:
        assert re.search(rf"^\s*{token.position}\s+\S+\s+{token.id}\s", text, re.M)
    for label in rainy.labels:
        assert f"{label.logit:+.4f}" in text
        assert f"{label.probability:.4f}" in text
    assert "█" in text


def test_colours_shade_the_tokens(rainy: TextTrace) -> None:
    assert "48;2;" in printed(rainy, colours=True)


def test_one_layer_in_full(rainy: TextTrace) -> None:
    assert "layer.1.attention.q_lin" not in printed(rainy)
    text = printed(rainy, layer=2, top=5)
    assert "layer.1.attention.q_lin" in text
    assert "layer.0.attention.q_lin" not in text
    assert "Layer 2: who looks at whom" in text
    assert len(re.findall(r"^\s+\d+\s+\S+#\d+ → ", text, re.M)) == 4
    with pytest.raises(UserError, match="no layer 3"):
        printed(rainy, layer=3)


def test_a_long_text_does_not_flood_the_terminal(small_of: Family) -> None:
    found = trace_text(small_of("distilbert"), "snow " * 2000)
    assert len(printed(found).splitlines()) < 100
    assert "which the model does not see" in printed(found)


def test_hostile_texts_move_no_cursor(small_of: Family) -> None:
    text = printed(trace_text(small_of("roberta"), "\x1b[31mred\x07 \u202e\nx [bold]y[/bold]"))
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "\u202e" not in text
    assert "[bold]y[/bold]" in text


def test_an_empty_text(small_of: Family) -> None:
    found = trace_text(small_of("bert"), "")
    assert "(empty)" in printed(found)
    assert "100% lies on special tokens" in printed(found)
    assert tree(trace_page(found)) is not None


# --- page


def test_the_page_is_well_formed_and_needs_nothing_else(rainy: TextTrace) -> None:
    page = trace_page(rainy)
    root = tree(page)
    texts = "".join(root.itertext())
    assert "positions" in texts
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", page)
    assert "http://" not in page
    assert "https://" not in page
    assert page == trace_page(rainy)


def test_only_its_own_script_may_run(rainy: TextTrace) -> None:
    page = trace_page(rainy)
    scripts = re.findall(r"<script>(.*?)</script>", page, re.S)
    assert scripts == [SCRIPT]
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    policy = tree(page).find(".//meta[@http-equiv]")
    assert policy is not None
    assert f"script-src 'sha256-{digest}'" in policy.attrib["content"]
    assert "default-src 'none'" in policy.attrib["content"]


def test_texts_and_labels_stay_text(small_of: Family) -> None:
    found = trace_text(small_of("roberta"), EVIL)
    page = trace_page(found)
    root = tree(page)
    assert len(root.findall(".//script")) == 1
    assert root.find(".//img") is None
    assert "<b>snowy" not in page
    assert "&lt;b&gt;snowy&lt;/b&gt;" in page
    # What turns the direction of writing is kept apart from what stands around it.
    isolated = {e for bdi in root.iter("bdi") for e in bdi.iter()}
    turning = [e for e in root.iter() if "\u202e" in (e.text or "")]
    assert turning
    assert all(e in isolated for e in turning)


def test_the_map_holds_the_attention(rainy: TextTrace) -> None:
    page = trace_page(rainy)
    box = by_id(page, "explorer")
    layers, heads, n = (int(box.attrib[f"data-{key}"]) for key in ("layers", "heads", "n"))
    cells = np.frombuffer(base64.b64decode(by_id(page, "cells").text or ""), dtype=np.uint8)
    found = cells.reshape(layers, heads, n, n) / 255
    np.testing.assert_allclose(found, rainy.attention, atol=0.5 / 255 + 1e-6)
    assert int(box.attrib["data-source"]) == rainy.pooled_position


def longer(trace: TextTrace, layers: int, heads: int, n: int) -> TextTrace:
    attention = np.full((layers, heads, n, n), 1 / n, dtype=np.float32)
    one = trace.tokens[1]
    return replace(
        trace,
        tokens=tuple(replace(one, position=i, start=i, end=i + 1) for i in range(n)),
        attention=attention,
        looked_at=attention[:, 0, 0],
        rollout=attention[0, 0, 0],
        pooled_position=n - 1,
        pooled=np.linspace(-1, 1, 768, dtype=np.float32),
        head_vector=np.linspace(-1, 1, 768, dtype=np.float32),
        text="x" * 10_000,
        normalised="x" * 10_000,
        words=("x" * 10_000,) * 5000,
    )


def test_the_longest_text_makes_a_page_below_5_mb(rainy: TextTrace) -> None:
    page = trace_page(longer(rainy, 24, 16, 512))
    assert len(page.encode()) < 5_000_000
    box = by_id(page, "explorer")
    n = int(box.attrib["data-n"])
    assert 8 <= n < 512
    # The classified position is there though it is the last.
    assert int(box.attrib["data-source"]) == n - 1
    assert len(box.findall(".//button")) == n
    assert f"the first {n - 2} and the last 2" in page


def test_many_labels_are_folded_up(rainy: TextTrace) -> None:
    label = rainy.labels[0]
    labels = tuple(
        LabelStep(f"label {i}", label.logit, label.probability, 0.5, given=i == 0)
        for i in range(77)
    )
    page = trace_page(replace(rainy, labels=labels))
    assert "62 more labels" in page
    assert "label 76" in page
    assert "… 65 more" in printed(replace(rainy, labels=labels))


def test_thresholds_are_shown(rainy: TextTrace) -> None:
    task = replace(rainy.task, kind="multi_label", activation="sigmoid", thresholds=(0.3, 0.4, 0.5))
    labels = tuple(replace(x, threshold=0.3) for x in rainy.labels)
    found = replace(rainy, task=task, labels=labels)
    assert "threshold" in printed(found)
    assert "threshold" in trace_page(found)
    assert "threshold" not in printed(rainy)
