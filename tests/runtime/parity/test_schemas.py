"""The documented schemas hold for what is written and read, and refuse what is neither."""

from __future__ import annotations

import copy
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from runtime.bundle import GOLDEN, PARITY, Bundle
from runtime.golden import read_golden
from runtime.parity.document import PARITY_SCHEMA
from runtime.parity.results import RESULTS_SCHEMA, results_document
from runtime.parity.run import run_artifact, session_settings


def _validator(name: str) -> Draft202012Validator:
    schema = json.loads((files("runtime.parity") / f"{name}.schema.json").read_text("utf-8"))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


@pytest.fixture
def parity(bundle_folder: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((bundle_folder / PARITY).read_bytes())
    return value


def test_a_bundles_parity_json_is_as_documented(parity: dict[str, Any]) -> None:
    _validator("parity").validate(parity)
    assert parity["schema_version"] == PARITY_SCHEMA


def test_every_documented_field_is_needed(parity: dict[str, Any]) -> None:
    validator = _validator("parity")
    for name in parity["artifacts"][0]:
        broken = copy.deepcopy(parity)
        del broken["artifacts"][0][name]
        assert not validator.is_valid(broken), name
    assert not validator.is_valid(parity | {"verdict": "green"})
    assert not validator.is_valid(parity | {"other": 1})


def test_results_are_as_documented(bundle: Bundle) -> None:
    golden = read_golden(bundle.path / GOLDEN)
    found = run_artifact(
        bundle, bundle.artifact("model.onnx"), golden, session_settings(bundle), rows=range(6)
    )
    document = results_document([found], golden)
    validator = _validator("results")
    validator.validate(document)
    assert document["schema_version"] == RESULTS_SCHEMA
    for name in ("path", "sha256", "machine", "environment", "cases"):
        broken = copy.deepcopy(document)
        del broken["artifacts"][0][name]
        assert not validator.is_valid(broken), name
