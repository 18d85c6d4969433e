"""A smaller checkpoint is checked against the one it comes from before anybody sees it.

Everything is read back from the files that were written, and tokens are matched by their text, not
by the numbers that the pruning itself made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from export.checkpoint import Checkpoint, load_classifier, load_tokenizer
from export.reference import Reference, reference_from_model, reference_logits
from export.shrinking.configuration import depth, effective
from export.shrinking.layers import layer_name
from export.shrinking.selection import encodings
from export.shrinking.vocabulary import vocabulary_axis
from export.shrinking.weights import tensors_in
from export.unlabelled import choose_by_hash
from runtime.errors import UserError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Texts whose logits are compared bit for bit; every row and every text is compared without a model.
_MODEL_TEXTS = 24
# Stands in for a head where the checkpoint has none: both models get the same one.
_HEADLESS = ("a", "b")


@dataclass(frozen=True, slots=True)
class Verified:
    """What was found equal.

    Attributes:
        texts: corpus texts whose pieces were compared.
        recut: of them, those that are cut otherwise now; 0 without a limit.
        rows: embedding rows that were compared.
        model_texts: texts whose logits were equal bit for bit.
    """

    texts: int
    recut: int
    rows: int
    model_texts: int


def verify_vocabulary(
    before: Checkpoint, after: Checkpoint, corpus: Sequence[str], *, lossless: bool
) -> Verified:
    """Whether a pruned checkpoint is the old one for all texts that it cuts alike.

    Args:
        before: the checkpoint that was pruned.
        after: what was written.
        corpus: texts whose pieces were to be kept.
        lossless: no limit left out a piece of the corpus.

    Raises:
        UserError: a text of the corpus is cut otherwise, a word became unknown, a row or another
            weight differs, or a logit does.
    """
    old, new = load_tokenizer(before), load_tokenizer(after)
    alike = _same_pieces(before, old, new, corpus, lossless=lossless)
    rows = _same_weights(before, after, old, new)
    compared = _same_logits(before, after, old, new, alike)
    return Verified(len(corpus), len(corpus) - len(alike), rows, compared)


def verify_layers(before: Checkpoint, after: Checkpoint, layers: Sequence[int]) -> None:
    """Whether a shallower checkpoint has the kept layers' weights, all others, and nothing else.

    Raises:
        UserError: it does not, or it cannot be loaded.
    """
    import torch

    shared = int(getattr(effective(before), "num_hidden_groups", 0)) > 0
    written = dict(tensors_in(after.path))
    for name, tensor in tensors_in(before.path):
        new = name if shared else layer_name(name, layers)
        if new is not None and not torch.equal(written.pop(new, tensor.new_empty(0)), tensor):
            raise _wrong(f"{new} is not what {name} was")
    if written or depth(after) != len(layers):
        raise _wrong(f"it has {depth(after)} layers, and {min(written, default='no weight')} more")
    _load(after)


def _same_pieces(
    before: Checkpoint, old: Tokenizer, new: Tokenizer, corpus: Sequence[str], *, lossless: bool
) -> list[str]:
    """The texts that are cut alike."""
    unknown = before.family.special.unk
    alike = []
    pairs = zip(encodings(old, corpus), encodings(new, corpus), strict=True)
    for text, (was, now) in zip(corpus, pairs, strict=True):
        if was.tokens == now.tokens:
            alike.append(text)
        elif lossless:
            raise _wrong(f"a text of the corpus is cut otherwise: {text[:60]!r}")
        elif now.tokens.count(unknown) > was.tokens.count(unknown):
            raise _wrong(f"a word of the corpus became unknown: {text[:60]!r}")
    return alike


def _same_weights(before: Checkpoint, after: Checkpoint, old: Tokenizer, new: Tokenizer) -> int:
    """Every row of every token, matched by its text, and every other weight; returns the rows."""
    import torch

    was = old.get_vocab(with_added_tokens=True)
    tokens = sorted(new.get_vocab(with_added_tokens=True).items(), key=lambda item: item[1])
    rows = torch.tensor([was[token] for token, _ in tokens])
    written = dict(tensors_in(after.path))
    for name, tensor in tensors_in(before.path):
        axis = vocabulary_axis(name)
        wanted = tensor if axis is None else tensor.index_select(axis, rows)
        if not torch.equal(written.pop(name, tensor.new_empty(0)), wanted):
            which = "a row of" if axis is not None else "the weight"
            raise _wrong(f"{which} {name} is not what it was")
    if written:
        raise _wrong(f"{min(written)} was not there before")
    return len(tokens)


def _same_logits(
    before: Checkpoint, after: Checkpoint, old: Tokenizer, new: Tokenizer, texts: Sequence[str]
) -> int:
    """Logits of some texts, bit for bit; returns how many texts."""
    import numpy as np

    chosen = [texts[i] for i in choose_by_hash(texts, _MODEL_TEXTS)]
    if not chosen:
        return 0
    results = []
    for checkpoint, tokenizer in ((before, old), (after, new)):
        reference = _load(checkpoint)
        results.append(reference_logits(reference, sequences(tokenizer, chosen, reference)))
    if not np.array_equal(results[0], results[1]):
        row = int(np.argmax((results[0] != results[1]).any(axis=1)))
        raise _wrong(f"the logits of {chosen[row][:60]!r} are not the same")
    return len(chosen)


def sequences(
    tokenizer: Tokenizer, texts: Sequence[str], reference: Reference, longest: int | None = None
) -> list[list[int]]:
    """Ids with special tokens, cut to what the model can read, or to less."""
    most = min(reference.max_positions, longest or reference.max_positions)
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length=most)
    found = [e.ids for e in encodings(tokenizer, texts, special=True)]
    tokenizer.no_truncation()
    return found


def _load(checkpoint: Checkpoint) -> Reference:
    import torch

    labels = None if checkpoint.has_head else _HEADLESS
    torch.manual_seed(0)
    return reference_from_model(load_classifier(checkpoint, labels=labels))


def _wrong(why: str) -> UserError:
    return UserError(
        "the smaller checkpoint is not what it should be, and was not written",
        why=why,
        todo="this is a fault of this program: report it with the checkpoint's name",
    )
