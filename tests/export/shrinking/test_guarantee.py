"""No word becomes unknown, and the corpus is cut as before: on vocabularies made to break it."""

from __future__ import annotations

import json
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from export.families import families
from export.shrinking.kinds import vocabulary_of
from export.shrinking.selection import count_pieces, select
from export.shrinking.settings import ShrinkSettings
from export.shrinking.tokenizer import smaller_tokenizer
from export.shrinking.wordpiece import WordPieceVocabulary
from export.tokenizer_training import train_tokenizer
from runtime.errors import UserError

from support import weather_rows

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WORDS = st.text("abcd", min_size=1, max_size=7)


def _wordpiece(pieces: list[str]) -> Tokenizer:
    vocab = {piece: i for i, piece in enumerate((*SPECIAL, *pieces))}
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(list(SPECIAL))
    return tokenizer


def _pruned(
    tokenizer: Tokenizer, corpus: list[str], limits: ShrinkSettings, protected: tuple[str, ...]
) -> Tokenizer:
    vocabulary = vocabulary_of(tokenizer)
    counts = count_pieces(tokenizer, corpus)
    chosen = select(tokenizer, vocabulary, counts, limits, protected)
    return smaller_tokenizer(tokenizer, vocabulary, chosen)


@settings(max_examples=200, deadline=None)
@given(
    starts=st.lists(WORDS, max_size=14, unique=True),
    insides=st.lists(WORDS, max_size=14, unique=True),
    corpus=st.lists(WORDS, max_size=4),
    min_count=st.integers(1, 3),
)
def test_no_word_becomes_unknown_whatever_the_pieces(
    starts: list[str], insides: list[str], corpus: list[str], min_count: int
) -> None:
    """Characters need not be pieces here: longest match may run into a dead end."""
    tokenizer = _wordpiece([*starts, *(f"##{piece}" for piece in insides)])
    limits = ShrinkSettings(corpus="x", min_count=min_count)
    smaller = _pruned(tokenizer, corpus, limits, SPECIAL)
    words = ["".join(letters) for n in range(1, 6) for letters in product("abcd", repeat=n)]
    before = tokenizer.encode_batch(words, add_special_tokens=False)
    after = smaller.encode_batch(words, add_special_tokens=False)
    for word, was, now in zip(words, before, after, strict=True):
        assert "[UNK]" not in now.tokens or "[UNK]" in was.tokens, word
    if min_count == 1:
        for text in corpus:
            assert smaller.encode(text).tokens == tokenizer.encode(text).tokens


def test_the_closure_is_what_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it, longest match jumps into ``##cd``, whose end is no piece by itself."""
    pieces = ["a", "b", "c", "ab", "##b", "##c", "##bc", "##cd"]
    tokenizer = _wordpiece(pieces)
    assert tokenizer.encode("abcd").tokens == ["ab", "##cd"]
    limits = ShrinkSettings(corpus="x")
    assert _pruned(tokenizer, ["cbc"], limits, SPECIAL).encode("abcd").tokens == ["ab", "##cd"]
    monkeypatch.setattr(WordPieceVocabulary, "closed", lambda self, kept: kept | self._hard)
    assert _pruned(tokenizer, ["cbc"], limits, SPECIAL).encode("abcd").tokens == ["[UNK]"]


@pytest.mark.parametrize("name", ["bert", "roberta", "albert", "xlnet"])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_trained_vocabularies_of_every_kind(name: str, data: st.DataObject) -> None:
    family = families()[name]
    tokenizer = _trained(name)
    texts = _texts()
    corpus = data.draw(st.lists(st.sampled_from(texts), min_size=1, max_size=5))
    smaller = _pruned(tokenizer, corpus, ShrinkSettings(corpus="x"), family.special.order)
    assert smaller.get_vocab_size() < tokenizer.get_vocab_size()
    for text in corpus:
        assert smaller.encode(text).tokens == tokenizer.encode(text).tokens
    odd = data.draw(
        st.lists(st.text(max_size=12) | st.text("thesunrain ", max_size=30), max_size=20)
    )
    for text in (*texts[:40], *odd):
        clean = text.encode("utf-8", "replace").decode()
        was, now = tokenizer.encode(clean), smaller.encode(clean)
        unknown = family.special.unk
        assert unknown in was.tokens or unknown not in now.tokens, text
        assert now.tokens.count(unknown) <= was.tokens.count(unknown)
        if name == "roberta":
            assert "".join(now.tokens) == "".join(was.tokens)


def _texts() -> list[str]:
    return [text for text, _ in weather_rows()][:200]


_CACHE: dict[str, Tokenizer] = {}


def _trained(name: str) -> Tokenizer:
    if name not in _CACHE:
        _CACHE[name] = train_tokenizer(families()[name], _texts(), 400)
    return _CACHE[name]


def test_a_target_size_is_met_with_the_commonest_pieces() -> None:
    tokenizer, texts = _trained("bert"), _texts()
    whole = _pruned(tokenizer, texts, ShrinkSettings(corpus="x"), SPECIAL).get_vocab_size()
    limit = whole - 20
    smaller = _pruned(tokenizer, texts, ShrinkSettings(corpus="x", vocab_size=limit), SPECIAL)
    assert smaller.get_vocab_size() == limit
    counts = count_pieces(tokenizer, texts)
    gone = [piece for piece in counts if smaller.token_to_id(piece) is None]
    kept = [p for p in counts if len(p.removeprefix("##")) > 1 and smaller.token_to_id(p)]
    assert len(gone) == 20
    assert max(counts[piece] for piece in gone) <= min(counts[piece] for piece in kept)
    with pytest.raises(UserError, match="3 tokens is too small"):
        _pruned(tokenizer, texts, ShrinkSettings(corpus="x", vocab_size=3), SPECIAL)


def test_a_target_size_of_bpe_counts_what_the_merges_need() -> None:
    tokenizer, texts = _trained("roberta"), _texts()
    order = families()["roberta"].special.order
    for limit in (270, 300, 330):
        smaller = _pruned(tokenizer, texts, ShrinkSettings(corpus="x", vocab_size=limit), order)
        assert smaller.get_vocab_size() <= limit
        value = json.loads(smaller.to_str())["model"]
        assert all("".join(pair) in value["vocab"] for pair in value["merges"])
        made = {"".join(pair) for pair in value["merges"]}
        assert all(len(p) == 1 or p in made for p in value["vocab"] if p not in order)


def test_unigram_refuses_a_character_that_is_no_piece() -> None:
    unigram = models.Unigram([("<unk>", 0.0), ("▁", -1.0), ("ab", -2.0), ("a", -3.0)], unk_id=0)
    tokenizer = Tokenizer(unigram)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    with pytest.raises(UserError, match=r"'b' is in the piece 'ab' and no piece by itself"):
        vocabulary_of(tokenizer)


def test_unigrams_least_likely_piece_stays() -> None:
    """The cost of an unknown character is counted from it."""
    tokenizer = _trained("albert")
    scores = dict(json.loads(tokenizer.to_str())["model"]["vocab"])
    smaller = _pruned(
        tokenizer, ["today"], ShrinkSettings(corpus="x"), families()["albert"].special.order
    )
    left = dict(json.loads(smaller.to_str())["model"]["vocab"])
    assert min(left.values()) == min(scores.values())
    assert left.items() <= scores.items()


def test_bpe_with_unusual_settings_is_refused() -> None:
    bpe = models.BPE({"a": 0, "b</w>": 1}, [], end_of_word_suffix="</w>")
    with pytest.raises(UserError, match="its BPE has end_of_word_suffix"):
        vocabulary_of(Tokenizer(bpe))
