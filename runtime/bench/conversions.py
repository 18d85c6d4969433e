"""Peers as contestants: converted once from the same checkpoint, kept by the hash of what they are.

A request that a script gets, as JSON in its first argument:

    checkpoint     folder with config.json and model.safetensors
    out            empty folder to write into
    lengths        sequence lengths for formats that need them fixed
    max_length     longest sequence
    architecture, features    of this processor, as `runtime.processor` names them
    needs          conversion → folder of those that this one reads
    golden         the bundle's golden.json, for those that calibrate; else absent
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from runtime.bench.contestants import Contestant
from runtime.bench.peers import ConversionSpec, PeerList, PeerSpec
from runtime.bench.process import backend_script
from runtime.bundle import GOLDEN, Bundle
from runtime.errors import UserError
from runtime.files import sha256_of
from runtime.processor import architecture, features
from runtime.provisioning.cache import install
from runtime.provisioning.environments import clean_environment, installed_versions, interpreter
from runtime.provisioning.tools import run_tool

Say = Callable[[str], None]
_CONVERT_SECONDS = 1800
# Where `make export` leaves what it has trained, each under a name of its own.
_CHECKPOINTS = Path("build/checkpoints")


def checked_checkpoint(folder: Path, bundle: Bundle) -> Path:
    """A checkpoint's folder, once it is the one that the bundle was made from.

    Raises:
        UserError: no checkpoint, or another one: figures of unlike models do not compare.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files or not (folder / "config.json").is_file():
        raise UserError(
            f"{folder} is not a checkpoint",
            why="it needs config.json and model.safetensors",
            todo="name the folder that the bundle was made from: --checkpoint FOLDER",
        )
    # As `export` writes it down.
    sha256 = (
        sha256_of(files[0])
        if len(files) == 1
        else hashlib.sha256("".join(map(sha256_of, files)).encode()).hexdigest()
    )
    if sha256 != bundle.manifest.source.sha256:
        raise UserError(
            f"{folder} holds other weights than {bundle.manifest.name} was made from",
            why=f"SHA-256 {sha256[:12]}… against {bundle.manifest.source.sha256[:12]}…",
            todo=f"name the checkpoint {bundle.manifest.source.model}",
        )
    return folder.resolve()


def kept_checkpoint(bundle: Bundle, root: Path = _CHECKPOINTS) -> Path | None:
    """The one among the checkpoints that exports have left whose weights the bundle was made from.

    Args:
        bundle: whose checkpoint is looked for.
        root: its folders are looked into.
    """
    for folder in sorted(root.glob("*/")):
        try:
            return checked_checkpoint(folder, bundle)
        except UserError:
            continue
    return None


@dataclass(slots=True)
class Workshop:
    """Makes peers' environments and files, each once in a run.

    Attributes:
        listed: all peers.
        home: folder of the list and its scripts.
        folder: where environments and files are kept.
        checkpoint: verified.
        bundle: verified; for its texts and lengths.
        export_python: the interpreter that makes bundles; None takes this one.
        say: called with one line before something that takes time.
    """

    listed: PeerList
    home: Path
    folder: Path
    checkpoint: Path
    bundle: Bundle
    export_python: Path | None = None
    say: Say = lambda _: None
    _made: dict[str, Path] = field(default_factory=dict)
    _failed: dict[str, UserError] = field(default_factory=dict)

    def contestants(
        self, peers: Sequence[PeerSpec]
    ) -> tuple[tuple[Contestant, ...], dict[str, str]]:
        """Whoever can be had.

        Returns:
            The contestants; and peer → one line on why it is not there.
        """
        if self.bundle.manifest.task.gives_vectors:
            why = "peers are made as classifiers, and this bundle gives sentence vectors"
            return (), {peer.name: why for peer in peers}
        found, skipped = [], {}
        for peer in peers:
            try:
                found.append(self._contestant(peer))
            except UserError as error:
                skipped[peer.name] = str(error)
        return tuple(found), skipped

    def _contestant(self, peer: PeerSpec) -> Contestant:
        python = self._interpreter(peer.environment)
        where = self._converted(peer.conversion) if peer.conversion else self.checkpoint
        paths = [where / name for name in peer.files]
        if missing := [path.name for path in paths if not path.is_file()]:
            raise UserError(f"the conversion {peer.conversion} wrote no {missing[0]}")
        script = self.home / peer.backend
        tokenizer = self.bundle.manifest.tokenizer
        settings: dict[str, Any] = {
            "path": str(paths[0]),
            "checkpoint": str(self.checkpoint),
            "pad_id": tokenizer.pad_id,
            "pad_side": tokenizer.pad_side,
        }
        return Contestant(
            name=peer.name,
            group="peer",
            format=peer.format,
            precision=peer.precision,
            bytes=sum(path.stat().st_size for path in paths),
            sha256=sha256_of(paths[0]),
            python=python,
            backend=script if peer.backend.endswith(".py") else backend_script(peer.backend),
            settings=settings | peer.options,
            environment={"PYTHONPATH": ""},
            note=peer.note,
        )

    def _interpreter(self, name: str) -> Path:
        return self._once(
            f"environment {name}",
            lambda: interpreter(
                name,
                self.listed.environments[name],
                folder=self.folder,
                export_python=self.export_python,
                say=self.say,
            ),
        )

    def _converted(self, name: str) -> Path:
        return self._once(f"conversion {name}", lambda: self._convert(name))

    def _once(self, key: str, make: Callable[[], Path]) -> Path:
        """What failed once is not tried again for the next peer."""
        if key in self._failed:
            raise self._failed[key]
        if key not in self._made:
            try:
                self._made[key] = make()
            except UserError as error:
                self._failed[key] = error
                raise
        return self._made[key]

    def _convert(self, name: str) -> Path:
        spec = self.listed.conversions[name]
        python = self._interpreter(spec.environment)
        needs = {need: str(self._converted(need)) for need in spec.needs}
        request: dict[str, Any] = {
            "checkpoint": str(self.checkpoint),
            "lengths": self._lengths(),
            "max_length": self.bundle.manifest.tokenizer.max_length,
            "architecture": architecture(),
            "features": list(features()),
            "needs": needs,
        }
        if spec.needs_golden:
            request["golden"] = str(self.bundle.file(GOLDEN))
        identity = self._identity(name, spec, python, request)
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        return install(
            self.folder / "models" / name / digest[:16],
            identity,
            partial(self._fill, name=name, python=python, spec=spec, request=request),
        )

    def _identity(
        self, name: str, spec: ConversionSpec, python: Path, request: Mapping[str, Any]
    ) -> dict[str, str]:
        """Everything that the files depend on, by content and not by place."""
        environment = self.listed.environments[spec.environment]
        versions = environment.requirements or installed_versions(python, environment.modules)
        golden = sha256_of(Path(request["golden"])) if "golden" in request else ""
        return {
            "conversion": name,
            "weights": self.bundle.manifest.source.sha256,
            "config": sha256_of(self.checkpoint / "config.json"),
            "script": sha256_of(self.home / spec.script),
            "versions": "\n".join(versions),
            "needs": "\n".join(f"{k} {Path(v).name}" for k, v in request["needs"].items()),
            "golden": golden,
            "request": json.dumps(
                {k: request[k] for k in ("lengths", "max_length", "architecture", "features")}
            ),
        }

    def _fill(
        self,
        out: Path,
        *,
        name: str,
        python: Path,
        spec: ConversionSpec,
        request: Mapping[str, Any],
    ) -> None:
        self.say(f"converting the peer {name} (once)")
        try:
            done = run_tool(
                str(python),
                *("-P", self.home / spec.script, json.dumps({**request, "out": str(out)})),
                environment=clean_environment(),
                timeout=_CONVERT_SECONDS,
            )
        except UserError as error:
            raise UserError(f"the conversion {name} did not end", why=str(error)) from error
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
            raise UserError(f"the conversion {name} failed", why=lines[-1][:300])

    def _lengths(self) -> list[int]:
        """Those of the bundle's own files of fixed lengths, so that the same is compared."""
        fixed = [a.lengths for a in self.bundle.manifest.artifacts if a.lengths]
        longest = self.bundle.manifest.tokenizer.max_length
        return list(fixed[0]) if fixed else [n for n in (32, 64) if n < longest] + [longest]
