"""Train a family's kind of tokenizer: the same texts give the same vocabulary."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers.processors import TemplateProcessing

from export.families.base import BERT_TOKENS, SpecialTokens
from runtime.errors import UserError

if TYPE_CHECKING:
    from export.families import Family

_MOST_LETTERS = 1000


def train_tokenizer(
    family: Family, texts: Iterable[str], vocab_size: int, *, fill: bool = False
) -> Tokenizer:
    """Train a tokenizer as the family's checkpoints have.

    Args:
        family: decides on the model, the normalization and the special tokens.
        texts: training texts.
        vocab_size: most tokens, special ones included; byte-level BPE has at least its 256 bytes.
        fill: see `train_wordpiece`; other kinds are never filled.
    """
    texts = list(texts)
    kind = family.tokenizers[0]
    if kind == "WordPiece":
        return train_wordpiece(texts, vocab_size, fill=fill)
    if kind == "BPE":
        return _bpe(family, texts, vocab_size)
    return _unigram(family, texts, vocab_size)


def train_wordpiece(texts: Iterable[str], vocab_size: int, *, fill: bool = False) -> Tokenizer:
    """Train an uncased BERT-style WordPiece tokenizer; the same texts give the same vocabulary.

    The trainer numbers the letters inside words (``##a``) in the order of a hash table that differs
    from run to run, and ties between merges follow those numbers. Handing it these letters first,
    sorted, as if they were special tokens, fixes both.

    Args:
        texts: training texts.
        vocab_size: most tokens, special ones included.
        fill: add ``[unused0]``, ``[unused1]`` … until there are so many.
    """
    texts = list(texts)
    special = list(BERT_TOKENS.order)
    scratch = _untrained_wordpiece({})
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        special_tokens=[*special, *(f"##{letter}" for letter in _letters(texts))],
        limit_alphabet=_MOST_LETTERS,
        show_progress=False,
    )
    scratch.train_from_iterator(texts, trainer)
    vocab = scratch.get_vocab(with_added_tokens=True)
    if fill:
        left = range(len(vocab), vocab_size)
        vocab |= {f"[unused{n}]": place for n, place in enumerate(left)}
    tokenizer = _untrained_wordpiece(vocab)
    tokenizer.add_special_tokens(special)
    _frame(tokenizer, BERT_TOKENS)
    return tokenizer


def _untrained_wordpiece(vocab: dict[str, int]) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token=BERT_TOKENS.unk))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def _letters(texts: list[str]) -> list[str]:
    """The commonest characters after normalization, at most `_MOST_LETTERS`, sorted."""
    normalizer = normalizers.BertNormalizer(lowercase=True)
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(normalizer.normalize_str(text))
    common = sorted(counts, key=lambda letter: (-counts[letter], letter))[:_MOST_LETTERS]
    return sorted(letter for letter in common if not letter.isspace())


def _bpe(family: Family, texts: list[str], vocab_size: int) -> Tokenizer:
    """Byte-level BPE as RoBERTa's: every text has ids, none is unknown."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(family.special.order),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    _frame(tokenizer, family.special)
    return tokenizer


def _unigram(family: Family, texts: list[str], vocab_size: int) -> Tokenizer:
    """Unigram over words that carry their space, as ALBERT's and XLNet's.

    SentencePiece itself chooses the pieces: the trainer in `tokenizers` sums up in the order of a
    hash table, so the same texts give another vocabulary in every process.
    """
    special = family.special
    normalizer = normalizers.Sequence(_unigram_normalizers(family))
    clean = [normalizer.normalize_str(text) for text in texts]
    chosen = _pieces(clean, max(vocab_size - len(special.order), 1))
    pieces = [(token, 0.0) for token in special.order]
    pieces += [(piece, score) for piece, score in chosen if piece not in special.order]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=special.order.index(special.unk)))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="always")]
    )
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    tokenizer.add_special_tokens(list(special.order))
    _frame(tokenizer, special, last=family.pooled_position == -1)
    return tokenizer


def _unigram_normalizers(family: Family) -> list[Any]:
    """As transformers has them for these families, without SentencePiece's own table."""
    return [
        normalizers.Replace("``", '"'),
        normalizers.Replace("''", '"'),
        normalizers.NFKD(),
        normalizers.StripAccents(),
        *([normalizers.Lowercase()] if family.lowercase else []),
    ]


def _pieces(texts: list[str], count: int) -> list[tuple[str, float]]:
    """At most `count` pieces with their log probabilities, likeliest first.

    Raises:
        UserError: the texts hold no letter.
    """
    import sentencepiece

    letters = Counter(letter for text in texts for letter in text if not letter.isspace())
    if not letters:
        raise UserError("there is no text to make a vocabulary of")
    most = max(1, min(_MOST_LETTERS, count // 2))
    ranked = sorted(letters, key=lambda letter: (-letters[letter], letter))
    # Rare letters have no piece: they are unknown. Lines end a text there, and so does NUL.
    gaps = str.maketrans(dict.fromkeys(["\0", *ranked[most:]], " "))
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([" ".join(text.translate(gaps).split()) for text in texts]),
        model_writer=model,
        model_type="unigram",
        vocab_size=count + 1,  # with its own <unk>
        hard_vocab_limit=False,
        character_coverage=1.0,
        normalization_rule_name="identity",
        max_sentence_length=1 << 20,  # longer texts would be left out
        bos_id=-1,
        eos_id=-1,
        num_threads=1,  # more would sum up in another order
        minloglevel=2,
    )
    trained = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    return [
        (trained.id_to_piece(i), trained.get_score(i))
        for i in range(trained.get_piece_size())
        if not trained.is_unknown(i)
    ]


def _frame(tokenizer: Tokenizer, special: SpecialTokens, *, last: bool = False) -> None:
    """Put the special tokens around a text; `last` has [CLS] at the end, with a segment of 2."""
    cls, sep = special.cls, special.sep
    single, pair = f"{cls} $A {sep}", f"{cls} $A {sep} $B:1 {sep}:1"
    if last:
        single, pair = f"$A {sep} {cls}:2", f"$A {sep} $B:1 {sep}:1 {cls}:2"
    tokenizer.post_processor = TemplateProcessing(
        single=single,
        pair=pair,
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in (cls, sep)],
    )
