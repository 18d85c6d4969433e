"""What the demo's tests share: bundles around a tokenizer, and texts that break tokenizers."""

from __future__ import annotations

import dataclasses
import json
import random
import sys
import unicodedata
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from tokenizers import Tokenizer

from export.awkward import AWKWARD_TEXTS
from export.families import Family
from export.tokenizers import describe_tokenizer, write_tokenizer
from runtime.bundle import MANIFEST
from runtime.files import canonical_json, sha256_of
from runtime.manifest import (
    ArtifactSpec,
    DataSpec,
    FileSpec,
    Manifest,
    SourceSpec,
    TaskSpec,
    TensorSpec,
    TokenizerSpec,
    WeightsSummary,
)
from runtime.tokenizer import TextTokenizer


def tokenizer_bundle(
    folder: Path, tokenizer: Tokenizer, family: Family, max_length: int
) -> TextTokenizer:
    """Write a bundle around a tokenizer; its model is never loaded.

    Returns:
        Python's tokenizer of the bundle.
    """
    folder.mkdir(parents=True)
    spec = describe_tokenizer(tokenizer, max_length, family)
    (folder / "model.tflite").write_bytes(b"texts become ids without it")
    names = write_tokenizer(tokenizer, spec, folder)
    write_manifest(folder, spec, names)
    return TextTokenizer(folder / spec.file, spec)


def write_manifest(folder: Path, spec: TokenizerSpec, names: Sequence[str]) -> None:
    """Write the manifest of such a bundle."""
    model = folder / "model.tflite"
    artifact = ArtifactSpec(
        path=model.name,
        format="tflite",
        recipe="float",
        precision="float32",
        bytes=model.stat().st_size,
        sha256=sha256_of(model),
        inputs=tuple(
            TensorSpec(name, "int32", (1, "length")) for name in ("input_ids", "attention_mask")
        ),
        outputs=(TensorSpec("logits", "float32", (1, 2)),),
        lengths=(spec.max_length,),
        minimum_runtime={},
        weights=WeightsSummary({}, ()),
        gate="unknown",
    )
    manifest = Manifest(
        schema_version=2,
        name="tokenizer",
        task=TaskSpec("single_label", "softmax", ("no", "yes")),
        tokenizer=spec,
        artifacts=(artifact,),
        files=tuple(
            FileSpec(name, (folder / name).stat().st_size, sha256_of(folder / name))
            for name in sorted(names)
        ),
        source=SourceSpec("none", "none", "none", None, "0" * 64, 0),
        data=DataSpec("none", "0" * 64, {}, {}),
        metrics={},
        tools={},
    )
    (folder / MANIFEST).write_text(canonical_json(manifest.to_json()), encoding="utf-8")


def with_flags(spec: TokenizerSpec, **flags: bool) -> TokenizerSpec:
    """The same tokenizer with other flags."""
    return dataclasses.replace(spec, **flags)  # type: ignore[arg-type]


@cache
def characters_by_kind() -> dict[tuple[int, str], list[str]]:
    """(plane, general category) → its code points, surrogates and unassigned ones too."""
    kinds: dict[tuple[int, str], list[str]] = {}
    for point in range(sys.maxunicode + 1):
        key = (point >> 16, unicodedata.category(chr(point)))
        kinds.setdefault(key, []).append(chr(point))
    return kinds


def alphabet(rng: random.Random, each: int) -> list[str]:
    """Some characters of every category of every plane."""
    found = []
    for characters in characters_by_kind().values():
        found += rng.sample(characters, min(each, len(characters)))
    return found


@cache
def marks_and_parts() -> list[str]:
    """Every mark, and everything that a character decomposes to: their order is a rule, too."""
    marks = [
        character
        for (_, category), found in characters_by_kind().items()
        if category in ("Mn", "Mc", "Me")
        for character in found
    ]
    composed = (unicodedata.normalize("NFD", chr(point)) for point in range(sys.maxunicode + 1))
    parts = {part for text in composed if len(text) > 1 for part in text}
    return [*marks, *sorted(parts - set(marks))]


SPACES = [" ", "  ", "\t", "\n", "\r\n", "\u0085", "\u00a0", "\u2003", "\u2028", "\u3000", "\u200b"]
SPECIAL = ["[CLS]", "[SEP]", "[MASK]", "[UNK]", "[PAD]", "[mask]", "[ MASK ]", "[[SEP]", "##ing"]
SPECIAL += ["<s>", "</s>", "<mask>", " <mask> ", "<pad>", "<unk>", "</ s>"]


class TextMaker:
    """Makes strings of everything that tokenizers treat in its own way.

    Args:
        seed: the same one gives the same texts.
        words: pieces of the vocabulary, so that not all is unknown.
    """

    def __init__(self, seed: int, words: Sequence[str]) -> None:
        self._rng = random.Random(seed)
        self._words = [word.removeprefix("##") for word in words] or ["word"]
        self._kinds = list(characters_by_kind().values())
        self._marks = [c for c in marks_and_parts() if unicodedata.category(c).startswith("M")]
        # Marks of several ranks, which are put in order.
        self._ranked = [c for c in self._marks if unicodedata.combining(c)]
        self._makers = [
            *[self._word] * 5,
            *[self._changed_word] * 2,
            *[self._anything] * 4,
            self._common,
            self._marked,
            self._hangul,
            self._emoji,
            self._half_a_pair,
            self._long_word,
            lambda: self._rng.choice(SPECIAL),
            lambda: self._rng.choice(SPACES),
        ]

    def texts(self, count: int) -> list[str]:
        """This many texts, as they are once they went through JSON."""
        made = []
        for _ in range(count):
            # One unknown character hides its whole word, so some texts are of marks alone.
            makers = [self._marked] if self._rng.random() < 0.1 else self._makers
            pieces = [self._rng.choice(makers)() for _ in range(self._rng.randint(0, 12))]
            glue = self._rng.choice(["", "", " ", " ", self._rng.choice(SPACES)])
            made.append(glue.join(pieces))
        # Two halves side by side are one character for whoever reads them.
        return [json.loads(json.dumps(text)) for text in made]

    def marks(self, count: int) -> list[str]:
        """Texts of letters with marks and of nothing else, each character in the vocabulary."""
        return [
            " ".join(self._marked() for _ in range(8)) + self._rng.choice(self._marks)
            for _ in range(count)
        ]

    def _word(self) -> str:
        return self._rng.choice(self._words)

    def _changed_word(self) -> str:
        word = list(self._word())
        place = self._rng.randrange(len(word) + 1)
        change = self._rng.randrange(4)
        if change == 0:
            return "".join(word).swapcase()
        if change == 1:
            return unicodedata.normalize("NFD", "".join(word)).title()
        inserted = self._rng.choice(self._marks) if change == 2 else self._anything()
        return "".join([*word[:place], inserted, *word[place:]])

    def _anything(self) -> str:
        return self._rng.choice(self._rng.choice(self._kinds))

    def _common(self) -> str:
        return "".join(chr(self._rng.randrange(0x20, 0x250)) for _ in range(5))

    def _marked(self) -> str:
        pool = self._rng.choice([self._marks, self._ranked])
        marks = self._rng.choices(pool, k=self._rng.randint(1, 4))
        return self._rng.choice("aeoäΩи") + "".join(marks)

    def _hangul(self) -> str:
        if self._rng.random() < 0.5:
            return chr(self._rng.randrange(0xAC00, 0xD7A4))
        return chr(self._rng.randrange(0x1100, 0x1200)) + chr(self._rng.randrange(0x1160, 0x1180))

    def _emoji(self) -> str:
        return self._rng.choice(["👩‍👩‍👧", "🇩🇪", "✌🏽", "❤️", "1️⃣", "☀︎", "🏴󠁧󠁢󠁳󠁣󠁴󠁿"])

    def _half_a_pair(self) -> str:
        return chr(self._rng.randrange(0xD800, 0xE000))

    def _long_word(self) -> str:
        # BERT's longest word has 100 characters.
        return self._rng.choice("aé漢̈x") * self._rng.randint(95, 105)


def every_code_point(together: int = 64) -> list[str]:
    """All of Unicode: each code point between two letters, so that its treatment shows.

    Of the planes that have no characters, or private ones only, there is one in seventeen.
    """
    used = (0, 1, 2, 3, 14)
    points = [
        chr(point)
        for point in range(sys.maxunicode + 1)
        if point >> 16 in used or point % 17 == 0 or point & 0xFFFF > 0xFFF0
    ]
    return [
        " ".join(f"a{point}b" for point in points[start : start + together])
        for start in range(0, len(points), together)
    ]


def awkward_texts() -> list[str]:
    """The project's own corpus."""
    return list(AWKWARD_TEXTS.values())
