"""Checks the Gradle project as far as that goes without Gradle and without its registries.

Versions: exact, in the catalog and nowhere else, LiteRT's the same as the Python wheel's. Wrapper:
new enough for the Android plugin, its download and its jar pinned. `gradle_scripts` parses the
scripts, `app_files` compares resources and manifest with the code, `workflow_files` reads the CI.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from runtime.errors import UserError
from runtime.files import sha256_of

CATALOG = Path("gradle", "libs.versions.toml")
WRAPPER = Path("gradle", "wrapper")

# What an Android plugin needs of Gradle, from its release notes at developer.android.com
# ("Minimum version" of its table "Compatibility", read on 2026-11-21).
_MINIMUM_GRADLE = {(9, 4): (9, 6, 0)}

# gradle-wrapper.jar as Gradle published it: SHA-256 → release, from gradle.org/release-checksums,
# quoted by the Update Gradle Wrapper action and by gradle/gradle-distributions. Ours came with
# the npm package @react-native-community/template 0.87.2. Any release's jar fetches any other.
_WRAPPER_JARS = {
    "55243ef57851f12b070ad14f7f5bb8302daceeebc5bce5ece5fa6edb23e1145c": "9.4.1",
    "497c8c2a7e5031f6aa847f88104aa80a93532ec32ee17bdb8d1d2f67a194a9c7": "9.6.1",
}

_EXACT = re.compile(r"\d+(\.\d+)+(-(alpha|beta|rc|RC)\d*)?")
_COORDINATE = re.compile(r'"[\w.-]+:[\w.-]+:[^"]*"')
_ACCESSOR = re.compile(r"\blibs\.([a-z]\w*(?:\.[a-z]\w*)*)")
# What follows an accessor of a version is a function's name, as in libs.versions.litert.get().
_FUNCTIONS = {"get", "asProvider"}
_DISTRIBUTION = re.compile(
    r"https\\://services\.gradle\.org/distributions/gradle-(?P<version>\d+(?:\.\d+)+)-bin\.zip"
)


def gradle_problems(project: Path, checkout: Path) -> list[str]:
    """What is wrong with versions, catalog, repositories and wrapper.

    Args:
        project: the Gradle project's folder.
        checkout: with ``constraints.txt`` and ``pyproject.toml``.

    Returns:
        One sentence each, the file first; empty if all is well.

    Raises:
        UserError: a file that every check needs is missing or unreadable.
    """
    catalog = read_catalog(project)
    return [
        *_version_problems(catalog),
        *_alias_problems(project, catalog),
        *_script_problems(project),
        *_litert_problems(catalog, checkout),
        *_wrapper_problems(project, catalog),
    ]


def read_catalog(project: Path) -> dict[str, Any]:
    """The version catalog.

    Raises:
        UserError: it is missing or not TOML.
    """
    try:
        return tomllib.loads((project / CATALOG).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{CATALOG} cannot be read", why=str(error.strerror)) from error
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{CATALOG} is not TOML", why=str(error)) from error


def scripts(project: Path) -> list[Path]:
    """The project's Gradle scripts: settings, root and modules."""
    return sorted([*project.glob("*.gradle.kts"), *project.glob("*/*.gradle.kts")])


def _version_problems(catalog: dict[str, Any]) -> Iterator[str]:
    for name, version in catalog.get("versions", {}).items():
        if not (isinstance(version, str) and _EXACT.fullmatch(version)):
            yield f"{CATALOG}: the version {name} = {version!r} is not one exact version"
    for table in ("libraries", "plugins"):
        for name, entry in catalog.get(table, {}).items():
            version = entry.get("version") if isinstance(entry, dict) else None
            if not (isinstance(version, dict) and isinstance(version.get("ref"), str)):
                yield f"{CATALOG}: {table}.{name} names no version.ref"


def _alias_problems(project: Path, catalog: dict[str, Any]) -> Iterator[str]:
    versions, libraries, plugins = (
        set(catalog.get(table, {})) for table in ("versions", "libraries", "plugins")
    )
    references = {
        entry["version"]["ref"]
        for table in ("libraries", "plugins")
        for entry in catalog.get(table, {}).values()
        if isinstance(entry, dict) and isinstance(entry.get("version"), dict)
    }
    for name in sorted(references - versions):
        yield f"{CATALOG}: version.ref {name} has no entry under [versions]"
    declared = {
        **{f"versions.{_accessor(name)}": name for name in versions},
        **{f"plugins.{_accessor(name)}": name for name in plugins},
        **{_accessor(name): name for name in libraries},
    }
    used = set()
    for script in scripts(project):
        text = _without_comments(script.read_text(encoding="utf-8"))
        for found in _ACCESSOR.findall(text):
            parts = found.split(".")
            if parts[0] == "versions" and parts[-1] in _FUNCTIONS:
                parts = parts[:-1]
            alias = ".".join(parts)
            used.add(alias)
            if alias not in declared:
                yield f"{script.relative_to(project)}: libs.{alias} is not in {CATALOG}"
    for alias in sorted(set(declared) - used):
        name = declared[alias]
        if not (alias.startswith("versions.") and name in references):
            yield f"{CATALOG}: {name} is declared and no script uses libs.{alias}"


def _script_problems(project: Path) -> Iterator[str]:
    for script in scripts(project):
        where = script.relative_to(project)
        text = _without_comments(script.read_text(encoding="utf-8"))
        for literal in _COORDINATE.findall(text):
            yield f"{where}: {literal} is a version outside the catalog"
        for word in ("maven {", "maven(", "ivy {", "flatDir", "mavenLocal("):
            if word in text:
                yield f"{where}: {word.rstrip(' {(')} names a repository of its own"
    settings = (project / "settings.gradle.kts").read_text(encoding="utf-8")
    if "RepositoriesMode.FAIL_ON_PROJECT_REPOS" not in settings:
        yield "settings.gradle.kts: modules may add repositories; set FAIL_ON_PROJECT_REPOS"
    for module in re.findall(r'":([\w-]+)"', settings):
        if not (project / module / "build.gradle.kts").is_file():
            yield f"settings.gradle.kts: the module {module} has no build.gradle.kts"


def _litert_problems(catalog: dict[str, Any], checkout: Path) -> Iterator[str]:
    """The runtime that judged the bundle and the one that the app ships are the same version."""
    here = catalog.get("versions", {}).get("litert")
    for file in ("constraints.txt", "pyproject.toml"):
        text = (checkout / file).read_text(encoding="utf-8")
        pins = set(re.findall(r"\bai-edge-litert==([\w.]+)", text))
        if pins != {here}:
            yield (
                f"{CATALOG}: litert is {here}, and {file} pins "
                f"ai-edge-litert to {', '.join(sorted(pins)) or 'no version'}"
            )


def _wrapper_problems(project: Path, catalog: dict[str, Any]) -> Iterator[str]:
    where = WRAPPER / "gradle-wrapper.properties"
    properties = _properties(project / where)
    distribution = _DISTRIBUTION.fullmatch(properties.get("distributionUrl", ""))
    if distribution is None:
        yield f"{where}: distributionUrl is not the -bin.zip of a release"
    else:
        yield from _too_old(distribution["version"], str(catalog["versions"].get("agp", "")))
    if not re.fullmatch(r"[0-9a-f]{64}", properties.get("distributionSha256Sum", "")):
        yield f"{where}: distributionSha256Sum is missing"
    if properties.get("validateDistributionUrl") != "true":
        yield f"{where}: validateDistributionUrl is not true"
    jar = project / WRAPPER / "gradle-wrapper.jar"
    if not jar.is_file():
        yield f"{WRAPPER / jar.name} is missing"
    elif sha256_of(jar) not in _WRAPPER_JARS:
        yield f"{WRAPPER / jar.name} is none that Gradle is known to have published"
    for script in ("gradlew", "gradlew.bat"):
        if not (project / script).is_file():
            yield f"{script} is missing"
    if (project / "gradlew").is_file() and not (project / "gradlew").stat().st_mode & 0o100:
        yield "gradlew is not executable"


def _too_old(gradle: str, agp: str) -> Iterator[str]:
    plugin = tuple(int(part) for part in re.findall(r"\d+", agp)[:2])
    needed = _MINIMUM_GRADLE.get((plugin[0], plugin[1])) if len(plugin) == 2 else None
    if needed is None:
        yield f"{CATALOG}: nobody has noted which Gradle the Android plugin {agp} needs"
    elif tuple(int(part) for part in gradle.split(".")) < needed:
        yield (
            f"{WRAPPER / 'gradle-wrapper.properties'}: Gradle {gradle} is older than "
            f"{'.'.join(map(str, needed))}, which the Android plugin {agp} needs"
        )


def _properties(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UserError(f"{path} cannot be read", why=str(error.strerror)) from error
    pairs = (line.partition("=") for line in lines if "=" in line and not line.startswith("#"))
    return {key.strip(): value.strip() for key, _, value in pairs}


def _accessor(alias: str) -> str:
    """How Gradle spells an alias of the catalog in a script."""
    return re.sub(r"[-_]", ".", alias)


def _without_comments(text: str) -> str:
    # No script has // or /* inside a string; distribution addresses are not in scripts.
    return re.sub(r"/\*.*?\*/|//[^\n]*", "", text, flags=re.DOTALL)
