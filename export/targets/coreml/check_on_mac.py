"""Runs this bundle's Core ML packages with Apple's own runtime and compares the logits.

    pip install coremltools numpy && python check_on_mac.py

Needs a Mac, and the whole bundle around it. `golden.json` holds every text's ids, PyTorch's logits
(reference) and what the executor that judged the package on Linux gave (expected). The exit status
is 0 where every package, on every compute unit, is within the tolerance of what was expected: the
largest difference of a logit, over the reference logits' root mean square.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Predict = Callable[[dict[str, Any]], Mapping[str, Any]]
UNITS = ("CPU_ONLY", "CPU_AND_GPU", "CPU_AND_NE", "ALL")
# For float16 on other hardware: several times what pessimistic rounding does to logits on Linux.
TOLERANCE = 0.03


def padded(
    ids: Sequence[int], lengths: Sequence[int] | None, pad_id: int, pad_side: str = "right"
) -> dict[str, Any]:
    """Both inputs, int32 [1, length], filled up to the shortest length that holds the ids."""
    length = min(n for n in lengths if n >= len(ids)) if lengths else len(ids)
    start = 0 if pad_side == "right" else length - len(ids)
    input_ids = np.full((1, length), pad_id, dtype=np.int32)
    mask = np.zeros((1, length), dtype=np.int32)
    input_ids[0, start : start + len(ids)] = ids
    mask[0, start : start + len(ids)] = 1
    return {"input_ids": input_ids, "attention_mask": mask}


def decisions(logits: Any, task: Mapping[str, Any]) -> Any:
    """[cases, labels] → the label of each case, or for many labels whether each one holds."""
    if task["kind"] == "single_label":
        return logits.argmax(-1)
    return 1 / (1 + np.exp(-logits)) >= np.array(task["thresholds"])


def check(
    predict: Predict, artifact: Mapping[str, Any], manifest: Mapping[str, Any], cases: Any
) -> tuple[str, float]:
    """One line of figures, and the largest difference over the reference's root mean square."""
    task, tokenizer = manifest["task"], manifest["tokenizer"]
    filling = (artifact["lengths"], tokenizer["pad_id"], tokenizer["pad_side"])
    output = "embedding" if task["kind"] == "embedding" else "logits"
    rows = [predict(padded(case["input_ids"], *filling))[output] for case in cases]
    measured = np.array(rows, dtype=np.float64).reshape(len(cases), -1)
    reference = np.array([case["reference_logits"] for case in cases])
    expected = np.array([case["artifact_logits"][artifact["path"]] for case in cases])
    # maximum, unlike max(), passes a NaN on; one fails every comparison below.
    worst = float(np.abs(measured - expected).max())
    share = worst / float(np.sqrt(np.mean(reference**2)))
    text = f"max |Δ| {np.abs(measured - reference).max():.2e} from the reference, "
    text += f"{worst:.2e} ({share:.2%}) from what was expected"
    if output == "embedding":  # a vector decides nothing
        return text, share
    differ = decisions(measured, task) != decisions(reference, task)
    flips = int(differ.reshape(len(cases), -1).any(1).sum())
    return f"{text}; {flips} of {len(cases)} decisions differ from the reference", share


def main(arguments: Sequence[str] | None = None) -> int:
    """Check every package of the bundle that this file lies in."""
    parser = argparse.ArgumentParser(description="Compare Core ML packages with golden.json.")
    parser.add_argument("--units", nargs="+", choices=UNITS, default=UNITS)
    parser.add_argument("--tolerance", type=float, default=TOLERANCE)
    chosen = parser.parse_args(arguments)
    if sys.platform != "darwin":
        sys.stderr.write("Apple's runtime exists on macOS only; run this on a Mac.\n")
        return 2
    import coremltools as ct

    folder = Path(__file__).resolve().parent
    manifest = json.loads((folder / "manifest.json").read_bytes())
    cases = json.loads((folder / "golden.json").read_bytes())["cases"]
    packages = [a for a in manifest["artifacts"] if a["path"].endswith(".mlpackage")]
    passed = bool(packages)
    for artifact in packages:
        for units in chosen.units:
            path = str(folder / artifact["path"])
            model = ct.models.MLModel(path, compute_units=ct.ComputeUnit[units])
            text, share = check(model.predict, artifact, manifest, cases)
            good = share <= chosen.tolerance
            passed = passed and good
            sys.stdout.write(f"{'ok  ' if good else 'FAIL'} {artifact['path']} {units}: {text}\n")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
