"""Downloads Debian packages of any architecture into a private folder.

apt does the work, with lists, cache and package state of its own, so that the host's are neither
read nor changed, and with the host's proxy and certificate settings. Signatures are always checked.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import UserError
from runtime.provisioning.apt_sources import AptSource, debian_archives, read_sources
from runtime.provisioning.tools import run_tool

_TIMEOUT = 1800


@dataclass(frozen=True, slots=True)
class PrivateApt:
    """An apt that knows one release of one architecture and has nothing installed."""

    folder: Path
    architecture: str

    def with_dependencies(self, packages: Sequence[str]) -> list[Path]:
        """Download packages and all that they depend on.

        Raises:
            UserError: apt's own words.
        """
        self._apt(["install", "--yes", "--download-only", *packages])
        return sorted((self.folder / "cache" / "archives").glob("*.deb"))

    def alone(self, package: str) -> Path:
        """Download one package.

        Raises:
            UserError: apt's own words.
        """
        self._apt(["download", package])
        return next(iter(self.folder.glob(f"{package}_*.deb")))

    def _apt(self, arguments: list[str]) -> None:
        done = run_tool(
            "apt-get",
            "--quiet",
            *arguments,
            folder=self.folder,
            environment=_environment(self.folder),
            timeout=_TIMEOUT,
        )
        if done.returncode:
            wrong = [line[2:].strip() for line in done.stderr.splitlines() if line[:2] == "E:"]
            raise UserError(
                f"apt-get {arguments[0]} failed for {self.architecture}",
                why=(wrong or done.stderr.splitlines() or ["it does not say why"])[0],
            )


def missing_tools() -> list[str]:
    """Which of the programs that this needs are not there."""
    return [tool for tool in ("apt-get", "apt-config", "dpkg-deb") if shutil.which(tool) is None]


@contextmanager
def private_apt(release: str, architecture: str) -> Iterator[PrivateApt]:
    """An apt for one release and architecture, from the first archive that has it.

    Args:
        release: of Debian, such as ``trixie``.
        architecture: Debian's name for it, such as ``arm64``.

    Raises:
        UserError: this is no Debian, no archive is configured, or none answers.
    """
    if tools := missing_tools():
        raise UserError(
            f"{tools[0]} is missing", why="packages are fetched with Debian's own tools"
        )
    archives = debian_archives(read_sources())
    if not archives:
        raise UserError(
            "apt is not configured for Debian's main archive",
            todo="name a mirror in MOBILE_EXPORT_DEBIAN; "
            "its keys are in the package debian-archive-keyring",
        )
    settings = _host_settings()
    failure: UserError | None = None
    for archive in archives:
        with tempfile.TemporaryDirectory(prefix="mobile-export-apt-") as name:
            apt = PrivateApt(Path(name), architecture)
            _lay_out(apt, archive, release, settings)
            try:
                apt._apt(["update"])
            except UserError as error:
                failure = failure or error
                continue
            yield apt
            return
    if failure is not None:
        raise failure


def unpack(packages: Sequence[Path], folder: Path) -> None:
    """Unpack packages without installing them.

    Raises:
        UserError: dpkg-deb's own words.
    """
    for package in packages:
        done = run_tool("dpkg-deb", "--extract", package, folder)
        if done.returncode:
            raise UserError(f"{package.name} cannot be unpacked", why=done.stderr.strip())


def _lay_out(apt: PrivateApt, archive: AptSource, release: str, settings: str) -> None:
    folder = apt.folder
    for part in ("lists/partial", "cache/archives/partial", "empty"):
        (folder / part).mkdir(parents=True)
    (folder / "status").touch()
    fields = {
        "Types": "deb",
        "URIs": archive.uri,
        "Suites": release,
        "Components": "main",
        "Architectures": apt.architecture,
    }
    if archive.signed_by:
        fields["Signed-By"] = archive.signed_by
    # An embedded key goes on over several lines, as it was read.
    text = "".join(f"{name}: {value}\n" for name, value in fields.items())
    (folder / "debian.sources").write_text(text, encoding="utf-8")
    own = {
        "Dir::Etc::parts": folder / "empty",
        "Dir::Etc::main": "/dev/null",
        "Dir::Etc::sourcelist": folder / "debian.sources",
        "Dir::Etc::sourceparts": folder / "empty",
        "Dir::Etc::preferences": "/dev/null",
        "Dir::Etc::preferencesparts": folder / "empty",
        "Dir::State::lists": folder / "lists",
        "Dir::State::status": folder / "status",
        "Dir::Cache": folder / "cache",
        "Dir::Log": folder,
        "APT::Architecture": apt.architecture,
        "APT::Install-Recommends": "false",
        # As root, apt would fetch as another user, who may not write here.
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
        # Else an archive that does not answer is a mere warning.
        "APT::Update::Error-Mode": "any",
    }
    lines = [f'{name} "{value}";\n' for name, value in own.items()]
    lines.append(f'#clear APT::Architectures;\nAPT::Architectures {{ "{apt.architecture}"; }};\n')
    (folder / "apt.conf").write_text(settings + "".join(lines), encoding="utf-8")


def _host_settings() -> str:
    """The host's proxies, certificates and the like; not its hooks, which may touch its files."""
    done = run_tool("apt-config", "dump", "--no-empty", "Acquire")
    return "".join(
        f"{line}\n"
        for line in done.stdout.splitlines()
        if line.startswith("Acquire::") and not line.startswith("Acquire::IndexTargets")
    )


def _environment(folder: Path) -> dict[str, str]:
    keep = {k: v for k, v in os.environ.items() if k.lower().endswith("_proxy") or k == "PATH"}
    return keep | {"APT_CONFIG": str(folder / "apt.conf"), "LC_ALL": "C.UTF-8"}
