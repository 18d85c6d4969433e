"""The self-test's own honesty: what it counts as caught, and when it claims nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fault_support import one_artifact
from typer.testing import CliRunner

from runtime import cli_selftest
from runtime.bundle import GOLDEN, PARITY, Bundle
from runtime.cli_selftest import selftest_document, summary
from runtime.errors import UserError
from runtime.faults.anatomy import classifier
from runtime.faults.catalogue import FAULTS, Context, Fault
from runtime.faults.graph import Graph
from runtime.golden import Golden, read_golden
from runtime.parity import selftest as module
from runtime.parity.document import read_gates
from runtime.parity.judge import GateSpec
from runtime.parity.selftest import quick_rows, selftest

NAME = "model.onnx"


@pytest.fixture(scope="module")
def parts(bundle_folder: Path) -> tuple[Bundle, Golden, dict[str, GateSpec]]:
    golden, gates = read_golden(bundle_folder / GOLDEN), read_gates(bundle_folder / PARITY)
    return one_artifact(bundle_folder, NAME), golden, gates


def _planting(monkeypatch: pytest.MonkeyPatch, *faults: Fault) -> None:
    monkeypatch.setattr(module, "FAULTS", faults)
    monkeypatch.setattr(module, "BUNDLE_FAULTS", ())


def nothing(graph: Graph, context: Context) -> None:
    """Changes nothing."""


def halved(graph: Graph, context: Context) -> None:
    """Every logit is half of what it was."""
    graph.weight(classifier(graph)).multiply(0.5)


def broken(graph: Graph, context: Context) -> None:
    """A graph that no runtime takes."""
    graph.rewire(graph.nodes[-1], "0", "there is no such value")


def test_a_fault_that_does_nothing_is_not_caught(
    parts: tuple[Bundle, Golden, dict[str, GateSpec]], monkeypatch: pytest.MonkeyPatch
) -> None:
    _planting(monkeypatch, Fault("nothing", "", nothing))
    result = selftest(*parts)
    assert [o.status for o in result.outcomes] == ["below"]
    assert result.outcomes[0].effect == 0.0
    assert result.verdict == "unknown"  # nothing was caught, so nothing was proven


def test_a_fault_within_the_limits_is_missed_and_fails(
    parts: tuple[Bundle, Golden, dict[str, GateSpec]], monkeypatch: pytest.MonkeyPatch
) -> None:
    _planting(monkeypatch, Fault("halved", "", halved))
    bundle, golden, gates = parts
    assert [o.status for o in selftest(bundle, golden, gates).outcomes] == ["caught"]
    infinite = {
        name: -np.inf if name in ("cosine", "sqnr_db") else np.inf
        for name in gates[NAME].limits["x86_64"]
    }
    limits = dict.fromkeys(gates[NAME].limits, infinite)
    result = selftest(bundle, golden, {NAME: replace(gates[NAME], limits=limits)})
    assert [o.status for o in result.outcomes] == ["missed"]
    assert result.verdict == "fail"
    assert summary(result)[0].startswith("missed: halved in model.onnx")
    assert "0 of 1 faults caught" in summary(result)


def test_a_copy_that_no_runtime_takes_proves_nothing(
    parts: tuple[Bundle, Golden, dict[str, GateSpec]], monkeypatch: pytest.MonkeyPatch
) -> None:
    _planting(monkeypatch, Fault("halved", "", halved), Fault("broken", "", broken))
    result = selftest(*parts)
    assert [o.status for o in result.outcomes] == ["caught", "error"]
    assert result.verdict == "unknown"
    _planting(monkeypatch, Fault("broken", "", broken, refusable=True))
    assert [o.status for o in selftest(*parts).outcomes] == ["refused"]


def test_where_the_sound_artifact_fails_nothing_is_claimed(
    parts: tuple[Bundle, Golden, dict[str, GateSpec]],
) -> None:
    bundle, golden, gates = parts
    shifted = replace(golden, reference=golden.reference + np.float32(1.0))
    result = selftest(bundle, shifted, gates)
    assert result.outcomes == ()
    assert result.controls[0].trouble
    assert result.controls[0].rows == tuple(range(len(golden.cases)))  # it tried all of them
    assert result.verdict == "unknown"


def test_an_unknown_fault_is_an_error(
    parts: tuple[Bundle, Golden, dict[str, GateSpec]],
) -> None:
    with pytest.raises(UserError, match="no fault 'typo'") as caught:
        selftest(*parts, fault="typo")
    assert "tanh_gelu" in caught.value.todo


def test_few_rows_hold_every_set_and_length(bundle_folder: Path) -> None:
    golden = read_golden(bundle_folder / GOLDEN)
    for name in ("model.tflite", "model.mlpackage"):
        artifact = one_artifact(bundle_folder, name).manifest.artifacts[0]
        rows = quick_rows(golden, artifact)
        assert len(rows) < len(golden.cases)
        assert {golden.cases[row].set for row in rows} == {case.set for case in golden.cases}
        lengths = sorted(len(golden.cases[row].input_ids) for row in rows)
        for length in artifact.lengths or ():
            assert any(size <= length for size in lengths)
        if name in golden.effective:
            assert set(rows) & set(golden.effective[name].rows)


def test_every_fault_has_a_name_and_a_summary_of_its_own() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
    assert len({fault.summary for fault in FAULTS}) == len(FAULTS)
    assert all(fault.summary and "\n" not in fault.summary for fault in FAULTS)


def test_the_command_shows_each_fault_and_leaves_with_the_verdict(
    bundle_folder: Path, tmp_path: Path
) -> None:
    app = cli_selftest.typer.Typer()
    app.command()(cli_selftest.selftest_command)
    report = tmp_path / "selftest.json"
    arguments = [str(bundle_folder), "--artifact", NAME, "--fault", "permuted_labels"]
    result = CliRunner().invoke(app, [*arguments, "--json", str(report)])
    assert result.exit_code == 0, result.output
    assert report.is_file()


def test_the_document_holds_plain_values(
    parts: tuple[Bundle, Golden, dict[str, GateSpec]],
) -> None:
    document = selftest_document(selftest(*parts, fault="wrong_zero_point"))
    (outcome,) = document["outcomes"]
    assert outcome["status"] == "not applicable"
    assert outcome["effect"] is None
    assert document["controls"][0]["trouble"] == ""
