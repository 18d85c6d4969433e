"""The list of peers and what happens where one cannot be had."""

from __future__ import annotations

import ast
import json
import shutil
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest

from runtime.bench.conversions import Workshop, checked_checkpoint, kept_checkpoint
from runtime.bench.peers import (
    DEFAULT_LIST,
    ConversionSpec,
    PeerList,
    PeerSpec,
    chosen,
    read_peers,
)
from runtime.bundle import Bundle
from runtime.errors import UserError
from runtime.provisioning.environments import EnvironmentSpec, installed_versions, interpreter

CONVERT = """
import json, pathlib, sys
request = json.loads(sys.argv[1])
out = pathlib.Path(request["out"])
(out / "model.bin").write_text(json.dumps(request["lengths"]))
log = pathlib.Path(request["checkpoint"]).parent / "conversions.log"
log.open("a").write("once\\n")
"""


def _peer(name: str, environment: str = "here", conversion: str = "good") -> PeerSpec:
    return PeerSpec(name, environment, "onnxruntime", "onnx", "int8", conversion, ("model.bin",),
                    {}, "")  # fmt: skip


@pytest.fixture
def workshop(tmp_path: Path, bundle: Bundle, checkpoint_folder: Path) -> Workshop:
    home = tmp_path / "list"
    home.mkdir()
    (home / "good.py").write_text(CONVERT)
    (home / "bad.py").write_text("import sys; sys.exit('no such operator')\n")
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    for name in ("config.json", "model.safetensors"):
        (checkpoint / name).write_bytes((checkpoint_folder / name).read_bytes())
    listed = PeerList(
        1,
        {
            "here": EnvironmentSpec((), ("numpy",)),
            "bare": EnvironmentSpec((), ("a_module_that_nobody_has",)),
            "unreachable": EnvironmentSpec(("nothing @ file:///nowhere/nothing.whl",), ()),
        },
        {
            "good": ConversionSpec("here", "good.py", (), needs_golden=True),
            "bad": ConversionSpec("here", "bad.py", (), needs_golden=False),
            "behind": ConversionSpec("here", "good.py", ("bad",), needs_golden=False),
        },
        (),
    )
    return Workshop(listed, home, tmp_path / "peers", checkpoint, bundle)


def test_the_list_is_whole_and_every_script_is_there() -> None:
    listed = read_peers()
    assert len(listed.peers) >= 9
    scripts = {c.script for c in listed.conversions.values()}
    scripts |= {p.backend for p in listed.peers if p.backend.endswith(".py")}
    for name in scripts:
        assert (DEFAULT_LIST.parent / name).is_file(), name
    for name, environment in listed.environments.items():
        for requirement in environment.requirements:
            assert "==" in requirement, (name, requirement)


def test_scripts_for_other_interpreters_import_nothing_of_ours() -> None:
    folders = [DEFAULT_LIST.parent, Path(DEFAULT_LIST.parents[2] / "runtime/bench/backends")]
    files = [f for folder in folders for f in folder.glob("*.py") if f.name != "__init__.py"]
    files = [f for f in files if f.name != "session_backend.py"]
    files.append(DEFAULT_LIST.parents[2] / "runtime/bench/worker.py")
    assert len(files) > 8
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names.append(node.module or "")
            assert not [n for n in names if n.split(".")[0] in ("runtime", "export")], file


def test_peers_are_chosen_by_name_or_by_its_beginning() -> None:
    peers = [_peer("optimum-int8"), _peer("optimum-float32"), _peer("other")]
    assert [p.name for p in chosen(peers, "optimum")] == ["optimum-int8", "optimum-float32"]
    assert [p.name for p in chosen(peers, "other, optimum-int8")] == ["optimum-int8", "other"]
    assert chosen(peers, "none") == ()
    assert len(chosen(peers, "all")) == 3
    with pytest.raises(UserError, match="no peer is called 'opt'"):
        chosen(peers, "opt")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("schema_version = 9", "schema version 9"),
        ("schema_version = ", "not TOML"),
        ("schema_version = 1\npeers = []\nconversions = {}", "lacks the field 'environments'"),
        (
            "schema_version = 1\npeers = []\nenvironments = {}\n[conversions.a]\n"
            'environment = "x"\nscript = "a.py"\nneeds = []\nneeds_golden = false',
            "the unknown 'x'",
        ),
        (
            "schema_version = 1\npeers = []\n[environments.x]\nrequirements = []\nmodules = []\n"
            '[conversions.a]\nenvironment = "x"\nscript = "a.py"\nneeds = ["a"]\n'
            "needs_golden = false",
            "not above it",
        ),
    ],
)
def test_a_wrong_list_is_refused_in_a_sentence(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "peers.toml"
    path.write_text(text)
    with pytest.raises(UserError, match=words):
        read_peers(path)
    with pytest.raises(UserError, match="cannot be read"):
        read_peers(tmp_path / "none.toml")


def test_peers_that_cannot_be_had_are_skipped_with_a_line_each(workshop: Workshop) -> None:
    peers = [
        _peer("fine"),
        _peer("no-module", environment="bare"),
        _peer("no-network", environment="unreachable"),
        _peer("no-conversion", conversion="bad"),
        _peer("after-it", conversion="behind"),
        replace(_peer("no-file"), files=("other.bin",)),
    ]
    found, skipped = workshop.contestants(peers)
    assert [c.name for c in found] == ["fine"]
    assert set(skipped) == {p.name for p in peers[1:]}
    assert "a_module_that_nobody_has" in skipped["no-module"]
    assert "pip could not install" in skipped["no-network"]
    assert "no such operator" in skipped["no-conversion"]
    assert "no such operator" in skipped["after-it"]
    assert "wrote no other.bin" in skipped["no-file"]
    assert not any("\n" in why for why in skipped.values())


def test_files_are_made_once_and_again_when_what_makes_them_changes(workshop: Workshop) -> None:
    log = workshop.checkpoint.parent / "conversions.log"

    def made() -> Workshop:
        again = Workshop(workshop.listed, workshop.home, workshop.folder, workshop.checkpoint,
                         workshop.bundle)  # fmt: skip
        (contestant,), _ = again.contestants([_peer("fine")])
        assert json.loads(Path(contestant.settings["path"]).read_text()) == list(
            next(a.lengths for a in workshop.bundle.manifest.artifacts if a.lengths) or ()
        )
        return again

    made()
    made()
    assert log.read_text().count("once") == 1
    script = workshop.home / "good.py"
    script.write_text(script.read_text() + "\n# another version\n")
    made()
    assert log.read_text().count("once") == 2


def test_sentence_vectors_have_no_peers(workshop: Workshop) -> None:
    manifest = workshop.bundle.manifest
    task = replace(manifest.task, kind="embedding", activation="l2", labels=(), pooling="mean")
    workshop.bundle = Bundle(workshop.bundle.path, replace(manifest, task=task))
    found, skipped = workshop.contestants([_peer("fine")])
    assert not found
    assert "sentence vectors" in skipped["fine"]


def test_nothing_half_written_is_taken_for_a_peer(workshop: Workshop) -> None:
    (workshop.home / "bad.py").write_text(CONVERT + "\nsys.exit('the disk is full')\n")
    _, skipped = workshop.contestants([_peer("half", conversion="bad")])
    assert "the disk is full" in skipped["half"]
    assert not list((workshop.folder / "models" / "bad").glob("*"))


def test_versions_of_an_interpreter_are_its_own() -> None:
    found = installed_versions(Path(sys.executable), ("numpy", "litert_torch", "nobody_has_it"))
    assert found == (f"numpy {version('numpy')}", f"litert_torch {version('litert-torch')}",
                     "nobody_has_it")  # fmt: skip


def test_another_checkpoint_is_refused(
    tmp_path: Path, bundle: Bundle, checkpoint_folder: Path
) -> None:
    assert checked_checkpoint(checkpoint_folder, bundle) == checkpoint_folder.resolve()
    with pytest.raises(UserError, match="is not a checkpoint"):
        checked_checkpoint(tmp_path, bundle)
    data = bytearray((checkpoint_folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / "model.safetensors").write_bytes(bytes(data))
    (tmp_path / "config.json").write_bytes((checkpoint_folder / "config.json").read_bytes())
    with pytest.raises(UserError, match="other weights"):
        checked_checkpoint(tmp_path, bundle)


def test_the_checkpoint_that_an_export_left_is_found_if_it_is_still_the_same(
    tmp_path: Path, bundle: Bundle, checkpoint_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert kept_checkpoint(bundle) is None
    kept = tmp_path / "build/checkpoints" / "weather-0123456789ab"
    (kept.parent / "another").mkdir(parents=True)
    (kept.parent / "note.txt").write_text("not a folder")
    shutil.copytree(checkpoint_folder, kept)
    assert kept_checkpoint(bundle) == kept.resolve()
    data = bytearray((kept / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (kept / "model.safetensors").write_bytes(bytes(data))
    assert kept_checkpoint(bundle) is None


def test_the_environment_that_makes_bundles_can_be_another_interpreter(tmp_path: Path) -> None:
    spec = EnvironmentSpec((), ("json",))
    here = Path(sys.executable)
    assert interpreter("export", spec, folder=tmp_path, export_python=here) == here
    with pytest.raises(UserError, match="cannot be run"):
        interpreter("export", spec, folder=tmp_path, export_python=Path("/nowhere/python"))
    with pytest.raises(UserError, match="--export-python"):
        interpreter("export", EnvironmentSpec((), ("nobody_has_it",)), folder=tmp_path,
                    export_python=here)  # fmt: skip
