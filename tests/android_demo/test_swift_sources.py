"""The iOS package as far as it can be checked without a Swift compiler."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import tree_sitter_swift
from tree_sitter import Language, Node, Parser

from android_demo.toolchain.downloads import ROOT, ToolUnavailableError
from android_demo.toolchain.swift import SwiftTools
from export.targets.coreml._options import OPTIONS
from runtime.bundle import Bundle

IOS = ROOT / "android_demo" / "ios"
SOURCES = sorted(IOS.rglob("*.swift"))
COREML = IOS / "Sources" / "MobileExport" / "CoreMLTextModel.swift"


def syntax_errors(source: bytes) -> list[int]:
    """Lines at which a Swift source has a syntax error."""
    parser = Parser(Language(tree_sitter_swift.language()))

    def wrong(node: Node) -> list[int]:
        own = [node.start_point[0] + 1] if node.is_error or node.is_missing else []
        return own + [line for child in node.children for line in wrong(child)]

    return wrong(parser.parse(source).root_node)


def platforms(package: str) -> dict[str, int]:
    """``platforms: [.iOS(.v16)]`` → ``{"iOS": 16}``."""
    return {name: int(version) for name, version in re.findall(r"\.(\w+)\(\.v(\d+)\)", package)}


def features(source: str) -> tuple[set[str], set[str]]:
    """Names of the inputs that a source fills and of the outputs that it reads."""
    inputs = re.search(r"MLDictionaryFeatureProvider\(dictionary: \[(.*?)\]\)", source, re.DOTALL)
    assert inputs is not None
    return (
        set(re.findall(r'"(\w+)":', inputs[1])),
        set(re.findall(r'featureValue\(for: "(\w+)"\)', source)),
    )


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_every_source_is_swift(path: Path) -> None:
    assert syntax_errors(path.read_bytes()) == []


@pytest.mark.parametrize(
    ("fault", "line"),
    [("func f() {", 1), ("let a = 1\nlet b = (2\n", 2), ("struct S {\n  let a: Int =\n}\n", 2)],
)
def test_a_syntax_error_is_found(fault: str, line: int) -> None:
    assert line in syntax_errors(fault.encode())


def test_the_oldest_systems_are_those_of_the_exporter() -> None:
    oldest = min(int(name.removeprefix("iOS")) for name in OPTIONS["deployment_target"])
    assert platforms((IOS / "Package.swift").read_text()) == {"iOS": oldest, "macOS": oldest - 3}


def test_the_manifest_agrees_about_the_oldest_systems(bundle: Bundle) -> None:
    ours = platforms((IOS / "Package.swift").read_text())
    found = [
        {name: int(version) for name, version in artifact.minimum_runtime.items()}
        for artifact in bundle.manifest.artifacts
        if artifact.format == "coreml"
    ]
    assert found
    assert min(found, key=lambda versions: versions["iOS"]) == ours


def test_the_model_is_called_by_the_names_of_the_manifest(bundle: Bundle) -> None:
    inputs, outputs = features(COREML.read_text(encoding="utf-8"))
    artifacts = [a for a in bundle.manifest.artifacts if a.format == "coreml"]
    assert artifacts
    for artifact in artifacts:
        assert inputs == {tensor.name for tensor in artifact.inputs}
        assert outputs <= {tensor.name for tensor in artifact.outputs}


def test_nothing_depends_on_the_systems_unicode_version() -> None:
    forbidden = re.compile(
        r"\.(?:lowercased|uppercased|folding|applyingTransform|properties|isPunctuation|isLetter"
        r"|isWhitespace|\w+MappingWith\w+|\w+StringWithCanonicalMapping)\b"
    )
    assert forbidden.search("text.lowercased()")
    assert forbidden.search("text.decomposedStringWithCanonicalMapping")
    sources = [path for path in SOURCES if "Sources" in path.parts]
    found = [path.name for path in sources if forbidden.search(path.read_text(encoding="utf-8"))]
    assert found == []


def test_the_sample_is_short() -> None:
    assert len((IOS / "Sample" / "ClassifierView.swift").read_text().splitlines()) <= 80


def test_the_package_needs_nothing_from_the_network() -> None:
    assert ".package(" not in (IOS / "Package.swift").read_text()


@pytest.mark.parametrize(
    ("unshare", "why"),
    [
        (None, "the program unshare is missing"),
        ("unshare: unshare failed: Operation not permitted", "Operation not permitted"),
        ("mount: /x/dev: permission denied.", "permission denied"),
    ],
)
def test_a_machine_without_namespaces_is_told_apart_from_a_failure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, unshare: str | None, why: str
) -> None:
    if unshare is not None:
        program = tmp_path / "unshare"
        program.write_text(f"#!/bin/sh\necho '{unshare}' >&2\nexit 1\n", encoding="utf-8")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolUnavailableError, match=why):
        SwiftTools(tmp_path / "root").run("swift", mounts={})
