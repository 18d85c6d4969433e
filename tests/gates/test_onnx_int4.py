"""Four-bit ONNX artifacts the whole way: export, gate, planted faults, bisection."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from fault_support import one_artifact, plant_in

from export.pipeline import export_bundle
from runtime.bundle import GOLDEN, PARITY, Bundle, open_bundle
from runtime.faults import read_artifact
from runtime.faults.anatomy import blocks
from runtime.golden import read_golden
from runtime.parity.bisect import bisect
from runtime.parity.document import read_gates
from runtime.parity.selftest import SelfTest, selftest
from runtime.sessions import SessionSettings, open_session
from runtime.trace import TRACE, read_trace

from support import export_settings

RECIPES = ("int8_int4emb", "int4", "int4_int4emb")
ALL_INT4 = "model_int4_int4emb.onnx"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(
    tmp_path_factory: pytest.TempPathFactory, checkpoint_folder: Path, weather_file: Path
) -> Path:
    out = tmp_path_factory.mktemp("int4") / "weather"
    exported = export_bundle(export_settings(checkpoint_folder, weather_file, out, recipes=RECIPES))
    assert exported.report.verdict == "pass"
    return out


@pytest.fixture(scope="module")
def tested(folder: Path) -> SelfTest:
    golden, gates = read_golden(folder / GOLDEN), read_gates(folder / PARITY)
    return selftest(one_artifact(folder, ALL_INT4), golden, gates)


def test_the_manifest_says_what_is_stored(folder: Path) -> None:
    found = {a.path: a.weights.elements for a in open_bundle(folder).manifest.artifacts}
    assert found["model_int8_int4emb.onnx"].keys() == {"float32", "int4", "int8"}
    assert found["model_int4.onnx"].keys() == {"float32", "int4", "int8"}
    assert found[ALL_INT4].keys() == {"float32", "int4"}


def test_every_fault_is_caught(tested: SelfTest) -> None:
    (control,) = tested.controls
    assert control.trouble == ""
    outcomes = {o.fault: o for o in tested.outcomes if o.artifact == ALL_INT4}
    assert [o for o in outcomes.values() if o.status in ("missed", "error")] == []
    assert {o.fault for o in outcomes.values() if o.status == "not applicable"} == {
        "reversed_classes"
    }
    for fault in ("wrong_block_scale", "flipped_small_sign", "dropped_rare_row"):
        assert "changed_weights" in outcomes[fault].by


def test_a_fault_is_traced_to_its_layer(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "bundle")
    bundle = open_bundle(folder)
    artifact = read_artifact(folder / ALL_INT4, bundle.artifact(ALL_INT4))
    (graph,) = artifact.graphs
    output = blocks(graph)[1].value.outputs[0]
    sound = bisect(bundle, bundle.artifact(ALL_INT4), _settings(bundle), read_trace(folder / TRACE))
    assert sound.verdict == "pass"
    plant_in(
        tmp_path / "bundle",
        ALL_INT4,
        lambda graph, _: graph.weight(blocks(graph)[1].value).multiply(1.5),
    )
    damaged = Bundle(tmp_path / "bundle", bundle.manifest)
    report = bisect(
        damaged, bundle.artifact(ALL_INT4), _settings(bundle), read_trace(folder / TRACE)
    )
    assert report.verdict == "fail"
    assert report.op is not None
    assert output in str(report.op)


def _settings(bundle: Bundle) -> SessionSettings:
    tokenizer = bundle.manifest.tokenizer
    return SessionSettings(pad_id=tokenizer.pad_id, vocab_size=tokenizer.vocab_size)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_processor_on_which_products_saturate_is_told(
    folder: Path, recipe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four bits are unpacked to integers as large as int8's."""
    monkeypatch.setattr("runtime.sessions.onnxruntime_session.features", lambda: ("avx2",))
    bundle = open_bundle(folder)
    spec = bundle.artifact(f"model_{recipe}.onnx")
    session = open_session(bundle.file(spec.path), spec, _settings(bundle))
    assert "int8_avx2" in session.environment.get("leaves_open", "")
    ids = np.array([[2, 5, 3]], np.int32)
    assert np.isfinite(session.run(ids, np.ones_like(ids))).all()
