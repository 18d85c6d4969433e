"""What an export leaves when its gate does not pass: artifacts to study, no bundle to ship."""

from __future__ import annotations

import json
from pathlib import Path

from runtime.bundle import MANIFEST, Bundle, describe_artifact, open_bundle
from runtime.errors import BundleError
from runtime.manifest import Manifest

# The manifest that would have been. Under this name nothing takes the folder for a bundle.
DRAFT = "manifest.draft.json"


def open_to_study(folder: Path, *, verify: bool = True) -> Bundle:
    """Open a bundle, or what an export's gate turned down.

    Args:
        folder: the bundle's, or the one with ``.rejected`` behind its name.
        verify: False takes the files as they are, for one that was changed on purpose.

    Raises:
        BundleError: neither, or a file is missing, changed or not allowed.
    """
    draft = folder / DRAFT
    if (folder / MANIFEST).is_file() or not draft.is_file():
        return open_bundle(folder, verify=verify)
    try:
        manifest = Manifest.from_json(json.loads(draft.read_bytes()))
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{draft} is not JSON", why=str(error), todo="export again") from error
    bundle = Bundle(folder, manifest)
    for artifact in manifest.artifacts:
        path = bundle.file(artifact.path)
        if not path.exists():
            raise BundleError(f"{path} is missing", todo="export again")
        if verify and describe_artifact(folder, artifact.path)[1] != artifact.sha256:
            raise BundleError(
                f"{path} was changed",
                why=f"its SHA-256 is not that in {DRAFT}",
                todo="export again, or take it as it is",
            )
    return bundle
