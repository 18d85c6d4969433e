from __future__ import annotations

import re
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt
import pytest

from runtime.bundle import GOLDEN, PARITY, Bundle
from runtime.golden import read_golden
from runtime.parity.document import read_gates
from runtime.parity.judge import ParityReport, judge
from runtime.parity.report import html_report
from runtime.parity.statistics import texts_needed

from .conftest import A53, HOSTILE, MakeWorld, World

Logits = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Layer:
    layer: str
    point: str
    tensor: str
    rel_rms: float
    budget: float


def _tree(page: str) -> ElementTree.Element:
    """A page is well-formed XML after its doctype: every tag closed, every character allowed."""
    start, body = page.split("\n", 1)
    assert start == "<!DOCTYPE html>"
    page.encode("utf-8")  # no lone surrogate is left
    return ElementTree.fromstring(body)


def _all(tree: ElementTree.Element, tag: str, style: str) -> list[ElementTree.Element]:
    found = tree.iter(tag)
    return [element for element in found if style in (element.get("class") or "").split()]


def _text(element: ElementTree.Element) -> str:
    return "".join(element.itertext())


def _checked(tree: ElementTree.Element) -> list[dict[str, tuple[str, str, str]]]:
    """Artifact by artifact: figure → exact value, exact limit, class of the row."""
    tables = []
    for table in _all(tree, "table", "checks"):
        rows = {}
        for row in table.iter("tr"):
            values = [data.get("value") or "" for data in row.iter("data")]
            if values:
                name = next(row.iter("code")).text or ""
                rows[name] = (values[0], values[1], row.get("class") or "")
        tables.append(rows)
    return tables


def _assert_shows(report: ParityReport, tree: ElementTree.Element) -> None:
    """Each verdict, figure, limit and reason of the report is in the page."""
    for found, shown in zip(report.artifacts, _checked(tree), strict=True):
        assert shown == {
            check.figure: (repr(float(check.value)), repr(float(check.limit)), check.verdict)
            for check in found.checks
        }
    cards = _all(tree, "details", "artifact")
    assert [(card.get("class") or "").split()[1] for card in cards] == [
        found.verdict for found in report.artifacts
    ]
    assert report.verdict in (_all(tree, "header", "verdict")[0].get("class") or "")


def test_a_real_bundle(bundle: Bundle) -> None:
    golden = read_golden(bundle.path / GOLDEN)
    report = judge(bundle, golden, read_gates(bundle.path / PARITY))
    tree = _tree(html_report(report, golden, bundle.manifest))
    _assert_shows(report, tree)
    assert f"All {len(report.artifacts)} artifacts agree with PyTorch" in _text(tree)


def test_a_failure_is_seen(world: World, mixed: ParityReport) -> None:
    assert [found.verdict for found in mixed.artifacts] == ["pass", "fail"]
    tree = _tree(html_report(mixed, world.golden, world.manifest))
    _assert_shows(mixed, tree)
    assert _text(next(tree.iter("h1"))) == "1 of 2 artifacts does not agree with PyTorch"
    failed = next(card for card in _all(tree, "section", "card") if "Must not" in _text(card))
    assert "model_int8.onnx" in _text(failed)
    assert "large_margin_flips" in _text(failed)
    reasons = _text(_all(tree, "ul", "why")[0])
    for check in mixed.artifacts[1].checks:
        assert (check.figure in reasons) == (check.verdict != "pass")
    cards = _all(tree, "details", "artifact")
    assert cards[1].get("open") == "open"


def test_every_flip_is_marked_and_only_where_one_can_be(world: World, noisy: Logits) -> None:
    report = world.report(world.evidence(logits=noisy))
    tree = _tree(html_report(report, world.golden, world.manifest))
    flips = [path for path in _all(tree, "path", "flip") if path.find("title") is not None]
    figures = report.artifacts[0].figures
    assert len(flips) == figures["flips"] + figures["other_flips"] > 0
    for flip in flips:
        found = re.search(r"margin ([\d.e-]+), error ([\d.e-]+)", _text(flip))
        assert found
        assert float(found[2]) >= 0.499 * float(found[1])


def test_nothing_leaves_the_page(world: World, mixed: ParityReport) -> None:
    page = html_report(mixed, world.golden, world.manifest)
    seen: list[tuple[str, dict[str, str | None]]] = []

    class Tags(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            seen.append((tag, dict(attrs)))

    Tags().feed(page)
    assert not {tag for tag, _ in seen} & {"script", "img", "iframe", "object", "embed", "use"}
    for _, attributes in seen:
        assert not [name for name in attributes if name.startswith("on") or name == "src"]
        assert re.fullmatch(r"(#.*|data:,)?", attributes.get("href") or "")
    assert "http:" not in page
    assert "https:" not in page
    assert not re.search(r"@import|url\(|@font-face", page)
    policy = next(a for tag, a in seen if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in (policy["content"] or "")


def test_links_and_names_are_unique(world: World, mixed: ParityReport) -> None:
    tree = _tree(html_report(mixed, world.golden, world.manifest))
    names = [element.get("id") for element in tree.iter() if element.get("id")]
    assert len(names) == len(set(names))
    for element in tree.iter():
        for name in (element.get("aria-labelledby") or "").split():
            assert name in names
        if (element.get("href") or "").startswith("#"):
            assert (element.get("href") or "")[1:] in names
    for picture in tree.iter("svg"):
        assert picture.get("aria-hidden") == "true" or picture.find("title") is not None


def test_the_same_report_gives_the_same_page(world: World, mixed: ParityReport) -> None:
    first = html_report(mixed, world.golden, world.manifest)
    assert first == html_report(mixed, world.golden, world.manifest)


def test_hostile_texts_stay_texts(hostile: tuple[World, ParityReport]) -> None:
    nasty, report = hostile
    page = html_report(report, nasty.golden, nasty.manifest)
    tree = _tree(page)
    _assert_shows(report, tree)
    assert not list(tree.iter("script"))
    assert "Other ids than the golden ones for 3 texts: awkward/\\u0004" in _text(tree)
    shown = [_text(element) for element in _all(tree, "bdi", "text")]
    assert HOSTILE[0] in shown
    assert HOSTILE[1] in shown
    assert any("nul\\u0000, escape\\u001b, c1\\u0085, half \\ud83d" in text for text in shown)
    assert any(text.startswith("\\u202eright to left\\u2066") for text in shown)
    assert any("9,800 characters" in text and len(text) < 300 for text in shown)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\ud800-\udfff\ufffe]", page)


def test_logits_that_are_not_finite(world: World) -> None:
    broken = world.golden.reference.copy()
    broken[5] = np.nan
    broken[9, 1] = np.inf
    every = np.full_like(broken, np.nan)
    report = world.report(
        world.evidence(logits=broken), world.evidence("model_int8.onnx", logits=every)
    )
    tree = _tree(html_report(report, world.golden, world.manifest))
    _assert_shows(report, tree)
    assert "4 logits are not finite" in _text(tree)
    rows = [_text(row) for row in _all(tree, "table", "worst")[0].iter("tr")][1:]
    assert {name for name in ("validation/5 ", "validation/9 ") for row in rows[:2] if name in row}
    assert ["not a number" in row for row in rows[:3]] == [True, True, False]


@pytest.mark.parametrize("rows", [(7,), ()])
def test_hardly_any_text(world: World, rows: tuple[int, ...]) -> None:
    if not rows:  # no figure can be measured on nothing, but a page must still come out
        one = world.report(world.evidence(rows=(7,)))
        empty = replace(one.artifacts[0].evidence, rows=(), logits=world.golden.reference[:0])
        found = replace(one.artifacts[0], evidence=empty, checks=(), per_label=(), figures={})
        report = replace(one, artifacts=(found,))
    else:
        report = world.report(world.evidence(rows=rows))
    tree = _tree(html_report(report, world.golden, world.manifest))
    assert "Not certified" in _text(next(tree.iter("h1")))


def test_no_artifact_is_no_pass(world: World) -> None:
    page = html_report(world.report(), world.golden, world.manifest)
    assert "Nothing was judged" in _text(next(_tree(page).iter("h1")))


def test_too_few_texts_are_told(world: World) -> None:
    report = world.report(world.evidence(), limits={"flip_rate_bound": 0.001})
    assert report.verdict == "unknown"
    text = _text(_tree(html_report(report, world.golden, world.manifest)))
    assert f"{texts_needed(0, 160, 0.001):,} texts would be enough" in text
    assert "more texts would tell" in text
    assert "Judge with more texts" in text
    assert "finer recipe" not in text


def test_machines_stand_side_by_side(world: World, noisy: Logits) -> None:
    found = world.evidence(logits=noisy, machine=A53, rows=range(50), measured={"repeat_rel": 0.0})
    report = world.report(world.evidence(), found)
    tree = _tree(html_report(report, world.golden, world.manifest))
    (table,) = _all(tree, "table", "side")
    assert [_text(cell) for cell in table.iter("th")][1:3] == [
        "x86_64",
        "arm64 cortex-a53, emulated",
    ]
    rows = {_text(next(row.iter("th"))): row for row in table.iter("tr")}
    padding = next(row for name, row in rows.items() if name.startswith("padding_rel"))
    assert "not measured" in _text(padding)
    apart = rows["Largest difference from x86_64"]
    largest = np.abs(noisy[:50].astype(np.float64) - world.golden.reference[:50]).max()
    assert f"{largest:.3g}" in _text(apart)


def test_many_labels(make_world: MakeWorld) -> None:
    labels = [f"label {i}" for i in range(28)]
    many = make_world(labels, 120, multi=True)
    noise = np.random.default_rng(5).normal(0, 0.2, many.golden.reference.shape)
    logits = np.asarray(many.golden.reference + noise, dtype=np.float32)
    report = many.report(many.evidence(logits=logits))
    tree = _tree(html_report(report, many.golden, many.manifest))
    shown = {
        _text(next(row.iter("th"))): _text(next(row.iter("td")))
        for table in _all(tree, "table", "labels")
        for row in table.iter("tr")
        if list(row.iter("td"))
    }
    assert shown == {e.label: f"{e.flips} of {e.texts}" for e in report.artifacts[0].per_label}


def test_layers_are_drawn_with_the_first_that_is_wrong(world: World) -> None:
    layers = [
        Layer("embeddings", "distilbert.embeddings", "/Add", 1e-6, 1e-5),
        Layer("block 0", "layer.0", "/0/Add", 2e-3, 1e-5),
        Layer("block 1", "layer.1", "", float("nan"), 1e-5),
        Layer("head", "classifier", "logits", float("inf"), 1e-5),
    ]
    report = world.report(world.evidence(), world.evidence(machine=A53))
    page = html_report(report, world.golden, world.manifest, layers={"model.onnx": layers})
    text = _text(_tree(page))
    assert "The first above it is block 0." in text
    assert text.count("Where does the error arise?") == 1  # measured here, not on the other machine


def test_a_large_report_stays_small(make_world: MakeWorld) -> None:
    paths = [f"model_{i}.onnx" for i in range(11)]
    large = make_world([f"a label called {i}" for i in range(77)], 2000, paths=paths)
    noise = np.random.default_rng(5).normal(0, 0.1, large.golden.reference.shape)
    logits = np.asarray(large.golden.reference + noise, dtype=np.float32)
    report = large.report(*(large.evidence(path, logits) for path in paths))
    page = html_report(report, large.golden, large.manifest)
    assert len(page.encode()) < 1_500_000
    _tree(page)
