from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from export.recipes import WeightsRule, recipes
from export.search import state as state_module
from export.search.ladder import Weight
from export.search.state import State, Trial, recipe_key, versions_of

TRIAL = Trial("int8", 17, "fail", {"sqnr_db": math.inf, "flips": 3.0, "kl_mean": math.nan}, ("kl",))


def test_everything_comes_back(tmp_path: Path) -> None:
    state = State(tmp_path, "a/model", {"weights": "abc"})
    assert not state.folder.exists(), "a search that finds nothing out leaves nothing"
    state.add_noise("w", math.nan)
    state.add_trial("k", TRIAL)
    state.add_trial("too large", Trial("float32", 9_000))
    state.set_weights((Weight("w", "linear", 3, 4),))
    again = State(tmp_path, "a/model", {"weights": "abc"})
    assert again.folder == state.folder
    assert math.isnan(again.noise["w"])
    found = again.trials["k"]
    assert replace(found, figures={}) == replace(TRIAL, figures={})
    assert found.figure("sqnr_db") == math.inf
    assert math.isnan(found.figure("kl_mean"))
    assert math.isnan(found.figure("none"))
    assert again.trials["too large"] == Trial("float32", 9_000)
    assert again.weights == state.weights


def test_other_facts_are_another_search(tmp_path: Path) -> None:
    state = State(tmp_path, "m", {"weights": "abc"})
    state.add_trial("k", TRIAL)
    assert State(tmp_path, "m", {"weights": "abd"}).trials == {}
    assert State(tmp_path, "m", {"weights": "abc"}).trials.keys() == {"k"}


@pytest.mark.parametrize(
    "content", ["", "{", '{"schema_version": 2}', "[]", '{"schema_version": 1}']
)
def test_a_damaged_file_begins_anew(
    tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    state = State(tmp_path, "m", {})
    state.add_trial("k", TRIAL)
    (state.folder / "search.json").write_text(content)
    again = State(tmp_path, "m", {})
    assert again.trials == {}
    assert "begins anew" in capsys.readouterr().err
    again.add_noise("w", 0.5)
    assert State(tmp_path, "m", {}).noise == {"w": 0.5}


def test_a_kill_while_writing_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = State(tmp_path, "m", {})
    state.add_trial("k", TRIAL)
    before = (state.folder / "search.json").read_bytes()

    def fails(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", fails)
    with pytest.raises(KeyboardInterrupt):
        state.add_trial("k2", TRIAL)
    monkeypatch.undo()
    assert (state.folder / "search.json").read_bytes() == before
    assert [p.name for p in state.folder.iterdir()] == ["search.json"]


def test_a_recipe_is_known_by_what_it_does() -> None:
    recipe = recipes("onnx")["int8"]
    assert recipe_key(recipe) == recipe_key(replace(recipe, name="x", summary="y", default=False))
    rule = WeightsRule("float32", "none", "none")
    for other in (
        replace(recipe, layers={"a": rule}),
        replace(recipe, linear=rule),
        replace(recipe, gate={}),
        replace(recipe, outliers="keep"),
        replace(recipe, file="other.onnx"),
    ):
        assert recipe_key(other) != recipe_key(recipe)


def test_versions_know_this_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = versions_of(("onnx", "no-such-package"))
    assert "onnx" in found["packages"]
    assert "no-such-package" not in found["packages"]
    assert versions_of(()) == versions_of(())
    (tmp_path / "other.py").write_text("x = 1\n")
    monkeypatch.setattr(state_module, "_PACKAGES", (tmp_path,))
    assert versions_of(())["program"] != found["program"]
