from __future__ import annotations

import subprocess
import sys

import pytest

from export.families import families
from export.tokenizer_training import train_tokenizer
from runtime.errors import UserError

TEXTS = ["the sky is bright today", "our street isn't wet", "frozen over again"] * 5

_PROGRAM = """
import hashlib, random
from export.families import families
from export.tokenizer_training import train_tokenizer
draw = random.Random(3)
texts = ["".join(draw.choices("abcdefgh      ", k=60)) for _ in range(300)]
for family in families().values():
    text = train_tokenizer(family, texts, 400).to_str()
    print(family.name, hashlib.sha256(text.encode()).hexdigest())
"""


def test_every_process_makes_the_same_vocabulary() -> None:
    """Hash tables of the trainers start from another seed in every process."""
    runs = [
        subprocess.run(
            [sys.executable, "-c", _PROGRAM], check=True, capture_output=True, text=True
        ).stdout
        for _ in range(3)
    ]
    assert len(runs[0].splitlines()) == len(families())
    assert runs[0] == runs[1] == runs[2]


@pytest.mark.parametrize("name", families())
def test_special_tokens_come_first_in_their_order(name: str) -> None:
    family = families()[name]
    tokenizer = train_tokenizer(family, TEXTS, 300)
    assert [tokenizer.id_to_token(i) for i in range(len(family.special.order))] == list(
        family.special.order
    )
    assert tokenizer.get_vocab_size() <= 300


@pytest.mark.parametrize("name", ["albert", "xlnet"])
def test_unigram_of_many_letters_and_of_none(name: str) -> None:
    family = families()[name]
    chinese = ["".join(chr(0x4E00 + i) for i in range(start, start + 40)) for start in range(900)]
    tokenizer = train_tokenizer(family, chinese, 200)
    assert tokenizer.get_vocab_size() <= 200
    with pytest.raises(UserError, match="no text"):
        train_tokenizer(family, ["", " \n"], 200)


def test_a_long_text_takes_part_in_unigram() -> None:
    """SentencePiece leaves texts of more than 4192 bytes out unless it is told not to."""
    long = "umbrella " * 1000
    tokenizer = train_tokenizer(families()["albert"], ["a b c", long], 200)
    assert tokenizer.encode("umbrella").tokens == ["[CLS]", "\u2581umbrella", "[SEP]"]


def test_a_filled_vocabulary_reads_texts_as_before() -> None:
    family = families()["distilbert"]
    plain = train_tokenizer(family, TEXTS, 300)
    filled = train_tokenizer(family, TEXTS, 300, fill=True)
    known = plain.get_vocab_size()
    assert known < filled.get_vocab_size() == 300
    assert [filled.id_to_token(i) for i in range(known, 300)] == [
        f"[unused{n}]" for n in range(300 - known)
    ]
    for text in (*TEXTS[:3], "a [unused0] wet sky", "[CLS] isn't"):
        assert filled.encode(text).ids == plain.encode(text).ids
