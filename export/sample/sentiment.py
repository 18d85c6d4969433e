"""The single-label task: what a short review says about the thing under review."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from export.sample.grammar import Draft, Draw, Frame, bank, fill, frames, shares, vary

_OPPOSITE = {"positive": "negative", "negative": "positive"}
# Grammatical forms by suffix of a slot: singular, plural.
_FORMS = {
    "was": ("was", "were"),
    "is": ("is", "are"),
    "it": ("it", "they"),
    "them": ("it", "them"),
}


def draft(draw: Draw, label: str, topic: str | None = None) -> Draft:
    """One review with the wanted label, of something that is drawn unless `topic` names it."""
    data = bank("sentiment")
    group = "neutral" if label == "neutral" else "polar"
    phenomenon = draw.weighted(shares("sentiment")[group])
    fitting = [
        frame
        for frame in frames("sentiment")
        if frame.phenomenon == phenomenon and frame.label in (label, group)
    ]
    frame = draw.one(fitting)
    polarity = draw.one(("positive", "negative")) if label == "neutral" else label
    domain = data["domains"][topic or draw.one(list(data["domains"]))]
    filler = _Filler(draw, data, domain, polarity)
    text = fill(frame, filler.phrase)
    varied = vary(draw, text, context=data["contexts"][filler.domain["type"]])
    return Draft(varied, (label,), frame, tuple(filler.used))


@dataclass(slots=True)
class _Aspect:
    """Something that has an opinion attached, and how to speak of it."""

    noun: str
    plural: bool
    words: dict[str, list[str]]


@dataclass(slots=True)
class _Filler:
    """Fills one frame; remembers what it used, so that no adjective comes twice.

    Attributes:
        polarity: what A stands for.
    """

    draw: Draw
    data: dict[str, Any]
    domain: dict[str, Any]
    polarity: str
    used: list[str] = field(default_factory=list)
    _aspects: dict[str, _Aspect] = field(default_factory=dict)

    def phrase(self, slot: str) -> str:
        """What stands in a slot."""
        match slot:
            case "very" | "who":
                return self.draw.one(list[str](self.data[slot]))
            case "fact":
                return self._fresh(self.domain["facts"])
            case "cmp_A" | "cmp_B":
                return str(self.data["compare"][self._polarity(slot[-1])])
            case "VA" | "VB":
                by_pole = self.data["verdicts"][self.domain["type"]]
                return self._fresh(by_pole[self._polarity(slot[-1])])
        return self._about_aspect(*slot.partition("_")[::2])

    def _about_aspect(self, name: str, form: str) -> str:
        aspect = self._aspect(name)
        if form in _FORMS:
            return _FORMS[form][aspect.plural]
        if form in ("A", "B"):
            return self._fresh(aspect.words[self._polarity(form)])
        if name in ("kind", "w"):
            self.used.append(aspect.noun)
        return aspect.noun if name == "kind" or form == "n" else f"the {aspect.noun}"

    def _polarity(self, letter: str) -> str:
        return self.polarity if letter == "A" else _OPPOSITE[self.polarity]

    def _fresh(self, phrases: list[str]) -> str:
        chosen = self.draw.one([phrase for phrase in phrases if phrase not in self.used])
        self.used.append(chosen)
        return chosen

    def _aspect(self, name: str) -> _Aspect:
        name = "w" if name == "kind" else name
        if name not in self._aspects:
            self._aspects[name] = self._new_aspect(name)
        return self._aspects[name]

    def _new_aspect(self, name: str) -> _Aspect:
        general = self.data["general"]
        if name == "g":
            return _Aspect("", False, general)
        if name == "w":
            words = {pole: general[pole] + self.domain[pole] for pole in _OPPOSITE}
            return _Aspect(self.draw.one(self.domain["kinds"]), False, words)
        flips = name == "f" or (name == "x" and self.draw.chance(0.12))
        group = self.draw.one(self.domain["flips" if flips else "aspects"])
        nouns = [(noun, False) for noun in group.get("one", ())]
        nouns += [(noun, True) for noun in group.get("many", ())]
        taken = {aspect.noun for aspect in self._aspects.values()}
        noun, plural = self.draw.one([pair for pair in nouns if pair[0] not in taken])
        words = {pole: list(group[pole]) for pole in _OPPOSITE}
        # Words for anything, often; the specific ones are what makes texts differ.
        if not flips and self.draw.chance(0.5):
            words = {pole: general[pole] for pole in _OPPOSITE}
        return _Aspect(noun, plural, words)


def fits(frame: Frame) -> bool:
    """Whether a frame names known slots only; for tests of the bank."""
    names = {"x", "y", "f", "w", "g", "kind", "cmp", "VA", "VB", "fact", "very", "who"}
    return all(slot.partition("_")[0] in names for slot in frame.slots)
