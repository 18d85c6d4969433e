"""Core AI: convert, describe and check weights; needs the extra coreai."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from coreml_support import family_classifier

from export.recipes import Recipe, WeightsRule, recipes
from export.reference import Reference, reference_from_model
from export.targets import coreai
from export.targets.base import ArtifactMetadata, Job, Source
from export.targets.precision import check_precision, summarise
from runtime.errors import UserError
from runtime.files import files_below
from runtime.manifest import ArtifactSpec, TaskSpec, TensorSpec, WeightsSummary
from runtime.sessions import Session, SessionSettings, open_session
from runtime.sessions.coreai_file import PROGRAM, PROGRAM_HASH

from support import ROOT, seeded_classifier

pytest.importorskip("coreai_torch", reason="needs pip install 'mobile-export[coreai-export]'")

VOCAB = 200
POSITIONS = 64
LABELS = 3
Q_LIN = "distilbert.transformer.layer.{}.attention.q_lin.weight"


def sensitive_reference(seed: int = 7) -> Reference:
    model = seeded_classifier(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            # Sensitive logits, and LayerNorms and biases that no two layers have in common.
            if parameter.ndim == 2:
                parameter.mul_(8.0)
            else:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    return reference_from_model(model)


def job_for(reference: Reference, scratch: Path, recipe: Recipe | None = None) -> Job:
    metadata = ArtifactMetadata(
        name="weather",
        description='tells "sunny" from Schneefälle ☃',
        author="Ada",
        license="Apache-2.0",
        version="1.2",
        contract_sha256="ab" * 32,
    )
    task = TaskSpec("single_label", "softmax", ("sunny", "rainy", "snowy"))
    source = Source(reference, (16, POSITIONS), task, 0, metadata)
    return Job(source, recipe or recipes("coreai")["float32"], {}, scratch)


def open_asset(path: Path) -> Session:
    found = coreai.describe(path)
    spec = ArtifactSpec(
        path=path.name,
        format="coreai",
        recipe="float32",
        precision="float32",
        bytes=1,
        sha256="",
        inputs=found.inputs,
        outputs=found.outputs,
        lengths=found.lengths,
        minimum_runtime=found.minimum_runtime,
        weights=WeightsSummary({}, ()),
        gate="pass",
    )
    return open_session(path, spec, SessionSettings())


def largest_difference(path: Path, reference: Reference) -> float:
    random = np.random.default_rng(5)
    ids = random.integers(1, VOCAB, (6, 24), dtype=np.int32)
    mask = np.ones_like(ids)
    mask[::2, 15:] = 0
    with torch.inference_mode():
        expected = reference.module(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()
    assert np.ptp(expected, axis=0).min() > 0.5  # inputs matter, or the comparison would not
    return float(np.abs(open_asset(path).run(ids, mask) - expected).max())


def forge(source: Path, destination: Path, old: np.ndarray, new: np.ndarray) -> Path:
    """A copy in which one weight's stored bytes are others, with a hash that agrees."""
    program = (source / PROGRAM).read_bytes()
    before, after = old.tobytes(), new.astype(np.float32).tobytes()
    assert program.count(before) == 1 and len(before) == len(after)
    destination.mkdir()
    for file in files_below(source):
        (destination / file.name).write_bytes(file.read_bytes())
    changed = program.replace(before, after)
    (destination / PROGRAM).write_bytes(changed)
    (destination / PROGRAM_HASH).write_bytes(hashlib.sha256(changed).digest())
    return destination


@dataclasses.dataclass(frozen=True)
class Made:
    reference: Reference
    job: Job
    path: Path

    def weight(self, name: str) -> np.ndarray:
        return self.reference.module.model.state_dict()[name].numpy().copy()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("coreai")
    reference = sensitive_reference()
    job = job_for(reference, folder)
    coreai.make(job, folder / "model.aimodel")
    return Made(reference, job, folder / "model.aimodel")


def test_logits_are_pytorchs(made: Made) -> None:
    assert largest_difference(made.path, made.reference) < 5e-5


def test_describe_reads_the_signature_back(made: Made) -> None:
    found = coreai.describe(made.path)
    assert found.inputs == (
        TensorSpec("input_ids", "int32", ("batch", "length")),
        TensorSpec("attention_mask", "int32", ("batch", "length")),
    )
    assert found.outputs == (TensorSpec("logits", "float32", ("batch", LABELS)),)
    assert found.lengths is None
    assert found.minimum_runtime == {"coreai-core": "1.0.0b3", "iOS": "27.0", "macOS": "27.0"}
    # Per layer six linears and two attention products; two linears in the head.
    assert found.operators["broadcasting_batch_matmul"] == 2 * 6 + 2 + 2
    assert found.operators["gather_nd"] == 2


def test_describe_names_every_weight_with_its_role(made: Made) -> None:
    found = {weight.name: weight for weight in coreai.describe(made.path).weights}
    state = made.reference.module.model.state_dict()
    large = {
        n: tuple(v.shape) for n, v in state.items() if v.numel() >= 256 and v.is_floating_point()
    }
    large.pop("classifier.weight", None)
    assert {n: w.shape for n, w in found.items()} == large
    for name, weight in found.items():
        assert (weight.precision, weight.scales, weight.bits) == ("float32", 0, 32.0), name
        assert weight.role == ("embedding" if "embeddings" in name else "linear"), name
    check_precision(coreai.describe(made.path), made.job.recipe, "model.aimodel")
    assert set(summarise(coreai.describe(made.path)).elements) == {"float32"}


def test_effective_weights_are_the_references_bit_for_bit(made: Made) -> None:
    found = coreai.effective(made.path, made.job)
    assert found is not None
    state = made.reference.module.model.state_dict()
    assert list(found.tensors) == list(state)
    for name, array in found.tensors.items():
        np.testing.assert_array_equal(array, state[name].numpy(), err_msg=name)
    assert found.layer_norm_eps == np.float32(1e-12)


def test_weights_that_layers_have_in_common_are_all_told(tmp_path: Path) -> None:
    reference = reference_from_model(seeded_classifier(3))  # every LayerNorm is 1, every bias 0
    job = job_for(reference, tmp_path)
    coreai.make(job, tmp_path / "m.aimodel")
    found = coreai.effective(tmp_path / "m.aimodel", job)
    assert found is not None and set(found.tensors) == set(reference.module.model.state_dict())


@pytest.mark.parametrize("fault", ["low bit", "sign", "lost row", "swapped rows", "other layer"])
def test_a_changed_weight_is_found(made: Made, fault: str, tmp_path: Path) -> None:
    name = Q_LIN.format(0)
    if fault == "lost row":
        name = "distilbert.embeddings.word_embeddings.weight"
    old = made.weight(name)
    new = old.copy()
    if fault == "low bit":
        new.view(np.uint32)[3, 5] ^= 1
    elif fault == "sign":
        new[3, 5] *= -1
    elif fault == "lost row":
        new[17] = 0
    elif fault == "swapped rows":
        new[[4, 9]] = new[[9, 4]]
    else:
        new = made.weight(Q_LIN.format(1))
    path = forge(made.path, tmp_path / "model.aimodel", old, new)
    with pytest.raises(UserError, match=f"{name} has .* elements other than"):
        coreai.effective(path, made.job)


def test_a_wrong_graph_keeps_its_weights_and_shows_in_the_logits(
    made: Made, tmp_path: Path
) -> None:
    """The split: right weights, wrong arithmetic."""
    wrong = sensitive_reference()
    for layer in wrong.module.model.distilbert.transformer.layer:
        layer.ffn.activation = torch.nn.GELU(approximate="tanh")
    coreai.make(job_for(wrong, tmp_path), tmp_path / "model.aimodel")
    assert coreai.effective(tmp_path / "model.aimodel", made.job) is not None
    assert largest_difference(tmp_path / "model.aimodel", made.reference) > 1e-4


def test_metadata_has_what_was_given_and_no_clock(made: Made) -> None:
    assert json.loads((made.path / "metadata.json").read_text()) == {
        "assetVersion": "2.0",
        "author": "Ada",
        "creatorDefinedMetadata": {
            "contract_sha256": "ab" * 32,
            "name": "weather",
            "version": "1.2",
        },
        "description": 'tells "sunny" from Schneefälle ☃',
        "license": "Apache-2.0",
        "producer": "coreai-core 1.0.0b3",
    }


def test_an_existing_artifact_is_replaced_whole(made: Made, tmp_path: Path) -> None:
    path = tmp_path / "model.aimodel"
    path.mkdir()
    (path / "old.txt").write_text("old")
    coreai.make(made.job, path)
    assert [f.name for f in files_below(path)] == ["main.hash", "main.mlirb", "metadata.json"]
    assert [p.name for p in tmp_path.iterdir()] == ["model.aimodel"]


@pytest.mark.slow
def test_the_bytes_depend_on_nothing_but_the_model(made: Made, tmp_path: Path) -> None:
    """Another process, folder and hash seed give the same files, without a word on the way."""
    script = (
        "import importlib.util, sys, pathlib\n"
        "spec = importlib.util.spec_from_file_location('again', sys.argv[1])\n"
        "again = importlib.util.module_from_spec(spec); sys.modules['again'] = again\n"
        "spec.loader.exec_module(again)\n"
        "reference = again.sensitive_reference()\n"
        "print('start', flush=True); print('start', file=sys.stderr, flush=True)\n"
        "here = pathlib.Path('.').absolute()\n"
        "again.coreai.make(again.job_for(reference, here), here / 'model.aimodel')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, __file__],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
            "PYTHONHASHSEED": "99",
        },
        capture_output=True,
        text=True,
        check=True,
        timeout=180,
    )
    for file in files_below(made.path):
        theirs = (tmp_path / "model.aimodel" / file.name).read_bytes()
        assert theirs == file.read_bytes(), file.name
        assert str(ROOT).encode() not in theirs and str(tmp_path).encode() not in theirs
    assert done.stdout.split() == ["start"]
    assert done.stderr.partition("start\n")[2] == ""


@pytest.mark.parametrize("precision", ["int8", "float16"])
def test_a_recipe_in_another_precision_is_refused(
    made: Made, precision: str, tmp_path: Path
) -> None:
    rule = WeightsRule(precision, "channel" if precision == "int8" else "none", "minmax")
    recipe = dataclasses.replace(made.job.recipe, name="under_test", linear=rule, embedding=rule)
    with pytest.raises(UserError, match="under_test"):
        coreai.make(dataclasses.replace(made.job, recipe=recipe), tmp_path / "x.aimodel")
    assert not list(tmp_path.iterdir())


def test_a_model_that_cannot_be_expressed_is_a_user_error(made: Made, tmp_path: Path) -> None:
    class Data(torch.nn.Module):
        family = made.reference.family

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            return input_ids.float() if attention_mask.sum().item() > 3 else -input_ids.float()

    broken = dataclasses.replace(made.reference, module=Data())
    source = dataclasses.replace(made.job.source, reference=broken)
    with pytest.raises(UserError, match="cannot express"):
        coreai.make(dataclasses.replace(made.job, source=source), tmp_path / "x.aimodel")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "name", ["bert", *(pytest.param(n, marks=pytest.mark.slow) for n in ("albert", "electra"))]
)
def test_other_families(name: str, tmp_path: Path) -> None:
    reference = reference_from_model(family_classifier(name, max_position_embeddings=POSITIONS))
    path, job = tmp_path / "model.aimodel", job_for(reference, tmp_path)
    coreai.make(job, path)
    effective = coreai.effective(path, job)
    assert effective is not None
    assert effective.tensors.keys() == reference.module.model.state_dict().keys()
    assert largest_difference(path, reference) <= 2e-5


@pytest.mark.parametrize("name", ["xlnet", "mobilebert"])
def test_families_with_fixed_lengths_are_refused(name: str, tmp_path: Path) -> None:
    job = job_for(reference_from_model(family_classifier(name)), tmp_path)
    with pytest.raises(UserError, match="not made of") as caught:
        coreai.make(job, tmp_path / "model.aimodel")
    assert "takes the length" in caught.value.why


def test_damaged_assets_are_refused(made: Made, tmp_path: Path) -> None:
    program = made.path / PROGRAM
    old = made.weight(Q_LIN.format(0))
    copy = forge(made.path, tmp_path / "model.aimodel", old, old)
    coreai.describe(copy)
    (copy / PROGRAM).write_bytes(program.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"damaged.*cut"):
        coreai.describe(copy)
    with pytest.raises(UserError, match=r"damaged.*cut"):
        coreai.effective(copy, made.job)
    with pytest.raises(UserError, match="not a Core AI asset"):
        coreai.describe(tmp_path / "missing.aimodel")
