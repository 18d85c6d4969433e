from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from runtime.errors import BundleError
from runtime.manifest import Manifest


@pytest.fixture
def value(bundle_folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((bundle_folder / "manifest.json").read_bytes())
    for artifact in loaded["artifacts"]:  # a few of the many weights are enough
        del artifact["weights"]["stored"][2:]
    return loaded


def test_round_trip(value: dict[str, Any]) -> None:
    manifest = Manifest.from_json(value)
    assert json.loads(json.dumps(manifest.to_json())) == value


def test_every_field_is_required(value: dict[str, Any]) -> None:
    for name in value:
        broken = {k: v for k, v in value.items() if k != name}
        with pytest.raises(
            BundleError, match="schema version" if name == "schema_version" else name
        ):
            Manifest.from_json(broken)


def test_wrong_types_are_refused_everywhere(value: dict[str, Any]) -> None:
    """Put a value of another type at every leaf and expect a typed error, never a crash."""
    count = 0
    for path in _leaves(value):
        for wrong in ([], {}, "text", 7, 1.5, True, None):
            broken = copy.deepcopy(value)
            old = _put(broken, path, wrong)
            if type(old) is type(wrong) or (isinstance(old, float) and wrong == 7):
                continue
            if path[-1] == "bits" and wrong in (7, 1.5):
                continue
            if path[-1] in (
                "thresholds",
                "revision",
                "mask_token",
                "lengths",
                "bits",
                "sha256",
            ) and wrong in (
                None,
                "text",
            ):
                continue
            with pytest.raises(BundleError):
                Manifest.from_json(broken)
            count += 1
    assert count > 500


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict):
        return [leaf for k, v in value.items() for leaf in _leaves(v, (*path, k))]
    if isinstance(value, list):
        return [leaf for i, v in enumerate(value) for leaf in _leaves(v, (*path, i))]
    # A shape's axis may be a number or a name.
    return [] if "shape" in path else [path]


def _put(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    for key in path[:-1]:
        value = value[key]
    old, value[path[-1]] = value[path[-1]], new
    return old


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(schema_version=3), "schema version 3"),
        (lambda m: m.update(schema_version=True), "schema version True"),
        (lambda m: m.update(extra=1), "unknown field 'extra'"),
        (lambda m: m["task"].update(activation="sigmoid"), "does not belong"),
        (lambda m: m["task"].update(activation="relu"), "must be one of"),
        (lambda m: m["task"].update(labels=["a", "a"]), "names a label twice"),
        (lambda m: m["task"].update(labels=[]), "empty"),
        (lambda m: m["task"].update(thresholds=[0.5] * 3), "thresholds"),
        (lambda m: m["tokenizer"].update(max_length=1), "no room"),
        (lambda m: m["tokenizer"].update(pad_side="both"), "must be one of"),
        (lambda m: m["tokenizer"].update(pad_id=10**6), "not in the vocabulary"),
        (lambda m: m["tokenizer"].update(type="Unigram"), "contradict Unigram"),
        (lambda m: m["tokenizer"].update(vocab=None), "contradict WordPiece"),
        (lambda m: m["tokenizer"].update(lowercase=None), "contradict WordPiece"),
        (lambda m: m["tokenizer"].update(cls_position="middle"), "must be one of"),
        (lambda m: m.update(artifacts=[]), "artifacts is empty"),
        (lambda m: m["artifacts"].append(m["artifacts"][0]), "twice"),
        (lambda m: m["artifacts"][-1].update(lengths=[64, 32]), "ascending"),
        (lambda m: m["artifacts"][-1].update(lengths=[32]), "no length holds"),
    ],
)
def test_contradictions_are_refused(value: dict[str, Any], change: Any, message: str) -> None:
    change(value)
    with pytest.raises(BundleError, match=message):
        Manifest.from_json(value)


V1 = json.loads((Path(__file__).parent / "fixtures" / "manifest_v1.json").read_bytes())


def test_version_1_is_read_as_what_it_means() -> None:
    """The manifest of a bundle that the last release with schema version 1 made."""
    manifest = Manifest.from_json(V1)
    tokenizer = manifest.tokenizer
    assert (manifest.schema_version, manifest.source.family) == (1, "distilbert")
    assert (tokenizer.type, tokenizer.pad_side, tokenizer.cls_position) == (
        "WordPiece",
        "right",
        "first",
    )
    assert (tokenizer.pad_token, tokenizer.mask_token) == ("[PAD]", "[MASK]")
    assert tokenizer.token_types == "none"
    assert json.loads(json.dumps(manifest.to_json())) == V1


def test_the_contract_of_version_1_is_what_its_artifacts_carry() -> None:
    # Read from that bundle's Core ML package: user-defined key mobile_export.contract_sha256.
    in_the_package = "171f58a3709c9f6efba58d26a27b71dd82cceecb20f8a2281bc5b52c4fe98c3e"
    assert Manifest.from_json(V1).contract_sha256 == in_the_package


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m["tokenizer"].update(cls_position="first"), "unknown field 'cls_position'"),
        (lambda m: m["source"].update(family="bert"), "unknown field 'family'"),
        (lambda m: m["tokenizer"].update(pad_side="left"), "pad_side must be 'right'"),
        (lambda m: m.update(tokenizer=3), "not a JSON object"),
        (lambda m: m["source"].pop("sha256"), "lacks the field 'sha256'"),
    ],
)
def test_version_1_is_read_strictly(change: Any, message: str) -> None:
    value = copy.deepcopy(V1)
    change(value)
    with pytest.raises(BundleError, match=message):
        Manifest.from_json(value)


def test_not_an_object() -> None:
    with pytest.raises(BundleError, match="not a JSON object"):
        Manifest.from_json([1])
