"""Seeded ways to damage the files of a Core ML package: by bytes and by structure."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from coreml_packages import MODEL, WEIGHTS, spec_of
from google.protobuf.message import Message

from runtime.coreml_reference.package import read_package
from runtime.coreml_reference.program import CoreMLError, Package, Value

_BYTES = (0, 1, 2, 7, 8, 10, 18, 127, 128, 255)
_NUMBERS = (0, 1, 2, 3, 7, 63, 64, 127, 255, 2**16, 2**31 - 1)
_LARGE = (2**31, 2**32 - 1, 2**62, 2**63 - 1)
_TEXTS = ("", "x", "main", "const", "../x", "@model_path/../x", "/etc/passwd", "\x00", "CoreML9")


def mutated_bytes(random_: random.Random, data: bytes) -> bytes:
    """One to four changes: bytes set or flipped, runs removed, doubled, moved; or cut short."""
    changed = bytearray(data)
    for _ in range(random_.choice((1, 1, 1, 2, 4))):
        if not changed:
            break
        at, span = random_.randrange(len(changed)), random_.choice((1, 1, 2, 4, 9, 40))
        other = random_.randrange(len(changed))
        how = random_.randrange(8)
        if how == 0:
            changed[at] ^= 1 << random_.randrange(8)
        elif how == 1:
            changed[at] = random_.choice(_BYTES)
        elif how == 2:
            changed[at] = random_.randrange(256)
        elif how == 3:
            del changed[at : at + span]
        elif how == 4:
            changed[at:at] = changed[other : other + span]
        elif how == 5:
            changed[at : at + span] = changed[other : other + span]
        elif how == 6:
            changed[at:at] = random_.choice((b"\xff" * 9 + b"\x01", b"\xff" * 11, b"\x80" * 10))
        else:
            del changed[at:]
    return bytes(changed)


def mutated_metadata(random_: random.Random, data: bytes, offsets: list[int]) -> bytes:
    """A weight file with a number of its header or of a blob's metadata replaced."""
    changed = bytearray(data)
    at = random_.choice([0, *offsets])
    layout = ("<I", (0, 4)) if at == 0 else random_.choice((("<I", (0, 4)), ("<Q", (8, 16, 24))))
    position = at + random_.choice(layout[1])
    old = struct.unpack_from(layout[0], changed, position)[0]
    limit = 2 ** (8 * struct.calcsize(layout[0])) - 1
    new = random_.choice(
        (old + 1, old - 1, old + 64, old * 2, *_NUMBERS, *_LARGE, len(data), limit)
    )
    struct.pack_into(layout[0], changed, position, new & limit)
    return bytes(changed)


def mutated_structure(random_: random.Random, spec: Any, messages: list[Message]) -> bytes:
    """The model with one field of one message changed; `spec` itself comes back unchanged."""
    message = random_.choice(messages)
    if not message.DESCRIPTOR.fields:
        return bytes(spec.SerializePartialToString())
    field = random_.choice(message.DESCRIPTOR.fields)
    before = message.SerializePartialToString()
    try:
        _change(random_, message, field)
        return bytes(spec.SerializePartialToString())
    except (ValueError, TypeError):
        return bytes(spec.SerializePartialToString())
    finally:
        message.Clear()
        message.MergeFromString(before)


def _change(random_: random.Random, message: Any, field: Any) -> None:
    is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
    content = getattr(message, field.name)
    if is_map:
        keys = sorted(content)
        if keys and random_.random() < 0.5:
            del content[random_.choice(keys)]
        elif keys and field.message_type.fields_by_name["value"].message_type is not None:
            content[random_.choice(_TEXTS)].CopyFrom(content[random_.choice(keys)])
    elif field.is_repeated:
        if len(content) and random_.random() < 0.5:
            del content[random_.randrange(len(content))]
        elif len(content):
            content.append(content[random_.randrange(len(content))])
        elif field.message_type is not None:
            content.add()
    elif field.message_type is not None:
        message.ClearField(field.name) if random_.random() < 0.5 else content.SetInParent()
    elif field.type == field.TYPE_STRING:
        setattr(message, field.name, random_.choice(_TEXTS))
    elif field.type == field.TYPE_BYTES:
        setattr(message, field.name, content + random_.choice((b"", b"\x00", b"\xff" * 9)))
    else:
        setattr(message, field.name, random_.choice((content + 1, -1, *_NUMBERS, *_LARGE)))


def all_messages(message: Any) -> list[Any]:
    """A message and every one inside it, as live objects."""
    found = [message]
    for field, content in message.ListFields():
        if field.message_type is None:
            continue
        if field.message_type.GetOptions().map_entry:
            if field.message_type.fields_by_name["value"].message_type is not None:
                for key in sorted(content):
                    found += all_messages(content[key])
        elif field.is_repeated:
            for each in content:
                found += all_messages(each)
        else:
            found += all_messages(content)
    return found


class Fuzzer:
    """Damages one package in place, case after case, and reads it each time.

    Args:
        package: a copy that may be spoiled.
        seed: of everything random.
    """

    def __init__(self, package: Path, seed: int) -> None:
        self.package, self.random = package, random.Random(seed)
        self.accepted = self.refused = 0
        self.reasons: dict[str, int] = {}
        self._original = {
            name: (package / name).read_bytes() for name in (MODEL, WEIGHTS, "Manifest.json")
        }
        self._spec = spec_of(package)
        self._offsets = sorted(
            message.blobFileValue.offset
            for message in all_messages(self._spec)
            if message.DESCRIPTOR.name == "Value" and message.HasField("blobFileValue")
        )
        self._ways: list[Callable[[], tuple[str, bytes]]] = [
            lambda: (MODEL, mutated_bytes(self.random, self._original[MODEL])),
            lambda: (MODEL, mutated_bytes(self.random, self._original[MODEL])),
            self._structure,
            self._structure,
            lambda: ("Manifest.json", mutated_bytes(self.random, self._original["Manifest.json"])),
            lambda: (WEIGHTS, mutated_bytes(self.random, self._original[WEIGHTS])),
            lambda: (
                WEIGHTS,
                mutated_metadata(self.random, self._original[WEIGHTS], self._offsets),
            ),
        ]

    def _structure(self) -> tuple[str, bytes]:
        # Clearing a message invalidates the objects below it, so they are listed each time.
        return MODEL, mutated_structure(self.random, self._spec, all_messages(self._spec))

    def case(self) -> None:
        """One case: the package is read and loaded, or refused with a CoreMLError of one line."""
        name, data = self.random.choice(self._ways)()
        self.read(name, data)

    def read(self, name: str, data: bytes) -> None:
        """Read the package with one file replaced, then put the file back."""
        (self.package / name).write_bytes(data)
        try:
            load_all(read_package(self.package))
            self.accepted += 1
        except CoreMLError as error:
            text = str(error)
            assert error.what
            assert "\n" not in text
            assert len(text) < 1000
            reason = " ".join(word for word in error.what.split() if word.isalpha())[:50]
            self.reasons[reason] = self.reasons.get(reason, 0) + 1
            self.refused += 1
        finally:
            (self.package / name).write_bytes(self._original[name])


def load_all(package: Package) -> None:
    """Load every constant."""
    for operation in package.function.operations:
        for value in operation.attributes.values():
            value.load()
        for arguments in operation.inputs.values():
            for argument in arguments:
                if isinstance(argument, Value):
                    argument.load()
