"""Faults planted in saved Core ML packages, and the part of the gate that catches each.

Three parts can catch one: the stored weights (compared with the originals at the export), the graph
(float32 execution against PyTorch with the package's own weights) and the end-to-end figures. The
table says which do; a plain tolerance on logits, all that most exporters have, misses several.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fault_support import PLANTS, Plant, one_artifact, plant_in

from export.artifacts import effective_reference, split_rows
from export.checkpoint import load_classifier, read_checkpoint
from export.recipes import recipes
from export.reference import reference_from_model, reference_logits
from export.targets import targets
from export.targets.base import ArtifactMetadata, Job, Source, resolve_options
from runtime.bundle import GOLDEN, PARITY, open_bundle
from runtime.errors import UserError
from runtime.faults.anatomy import blocks
from runtime.faults.catalogue import Context, weak_mask, wrong_attention_scale
from runtime.faults.graph import LINEAR, Graph
from runtime.golden import EffectiveLogits, Golden, read_golden
from runtime.parity.document import read_gates
from runtime.parity.judge import judge

NAME = "model.mlpackage"
TARGET = targets()["coreml"]


def another_position(graph: Graph, context: Context) -> None:
    """The last block, which is computed for the first position alone, is so for the second."""
    del context
    query = blocks(graph)[-1].query
    (node,) = (n for n in graph.behind(query.inputs["x"], (LINEAR,)) if n.kind == "slice_by_index")
    graph.own(node, "begin")[1] = 1
    graph.own(node, "end")[1] = 2


STORED, GRAPH, END_TO_END = "stored weights", "graph", "end to end"
# Sizes that a tolerance on logits does not see: 0.2% on the scores, and a mask of minus eight.
FAULTS: dict[str, tuple[Plant, set[str]]] = {
    "tanh_gelu": (PLANTS["tanh_gelu"], {GRAPH}),
    "wrong_attention_scale": (partial(wrong_attention_scale, factor=1.002), {GRAPH}),
    "weak_mask": (partial(weak_mask, score=-8.0), {GRAPH, END_TO_END}),
    "miswired_layers": (PLANTS["miswired_layers"], {GRAPH, END_TO_END}),
    "another_position": (another_position, {GRAPH, END_TO_END}),
    "wrong_epsilon": (PLANTS["wrong_epsilon"], {GRAPH}),
    "wrong_bias": (PLANTS["wrong_bias"], {STORED, END_TO_END}),
    "flipped_small_sign": (PLANTS["flipped_small_sign"], {STORED}),
    "dropped_rare_row": (PLANTS["dropped_rare_row"], {STORED}),
    "permuted_labels": (PLANTS["permuted_labels"], {STORED, END_TO_END}),
    "swapped_layers": (PLANTS["swapped_layers"], {STORED, END_TO_END}),
}


@pytest.fixture(scope="module")
def job(bundle_folder: Path, checkpoint_folder: Path, tmp_path_factory: Any) -> Job:
    manifest = open_bundle(bundle_folder).manifest
    reference = reference_from_model(
        load_classifier(read_checkpoint(checkpoint_folder, name="weather", revision=None))
    )
    recipe = recipes("coreml")["float16"]
    source = Source(
        reference=reference,
        lengths=(32, 64),
        task=manifest.task,
        pad_id=manifest.tokenizer.pad_id,
        metadata=ArtifactMetadata("weather", "a classifier", "", "", "1.0", "0" * 64),
    )
    scratch = tmp_path_factory.mktemp("scratch")
    return Job(source, recipe, resolve_options(TARGET, recipe, {}), scratch)


def _caught_by(folder: Path, job: Job, golden: Golden) -> set[str]:
    """Every part that objects to model.mlpackage, each asked by itself."""
    caught = set()
    path = folder / NAME
    try:
        effective = TARGET.effective(path, job)
    except UserError:
        caught.add(STORED)
    else:
        assert effective is not None
        rows = split_rows(golden)
        logits = reference_logits(
            effective_reference(job.source.reference, effective),
            [golden.cases[row].input_ids for row in rows],
        )
        golden = replace(golden, effective={path.name: EffectiveLogits(rows, logits)})
    checks = _checks(folder, golden)
    if not checks["graph_max_abs"] and STORED not in caught:
        caught.add(GRAPH)
    others = {k: v for k, v in checks.items() if k not in ("graph_max_abs", "changed_weights")}
    if not all(others.values()):
        caught.add(END_TO_END)
    return caught


def _checks(folder: Path, golden: Golden) -> dict[str, bool]:
    """Figure → whether it does not fail."""
    report = judge(one_artifact(folder, NAME), golden, read_gates(folder / PARITY))
    return {check.figure: check.verdict != "fail" for check in report.artifacts[0].checks}


@pytest.fixture
def copied(bundle_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle_folder, tmp_path / "copy"))


def test_an_untouched_package_passes_every_part(copied: Path, job: Job) -> None:
    plant_in(copied, NAME, None)
    assert _caught_by(copied, job, read_golden(copied / GOLDEN)) == set()


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_caught_by_the_parts_of_the_table(fault: str, copied: Path, job: Job) -> None:
    plant, expected = FAULTS[fault]
    plant_in(copied, NAME, plant)
    caught = _caught_by(copied, job, read_golden(copied / GOLDEN))
    assert expected <= caught
    # A decision may flip or not, by the data; which part sees a fault before that may not vary.
    assert caught - expected <= {END_TO_END}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bundle_changed_later_fails_without_torch(fault: str, copied: Path) -> None:
    """The bundle keeps what its weights should give, so a changed one shows in the graph part.

    What no text's logits show, a row that none reads or a tiny weight, the weights' hashes tell.
    """
    plant_in(copied, NAME, FAULTS[fault][0])
    checks = _checks(copied, read_golden(copied / GOLDEN))
    assert not (checks["graph_max_abs"] and checks["changed_weights"])
    if fault in ("dropped_rare_row", "flipped_small_sign"):
        assert not checks["changed_weights"]
    else:
        assert not checks["graph_max_abs"]
    with pytest.raises(UserError, match="mlpackage"):
        open_bundle(copied)
