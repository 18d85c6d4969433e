from __future__ import annotations

import pytest
from tokenizers import Tokenizer
from tokenizers.normalizers import BertNormalizer

from export.tokenizer_training import train_wordpiece
from export.training.distill.same_tokenizer import require_same_tokenizer
from runtime.errors import UserError

TEXTS = ["the sun and the rain", "the snow and the sun", "Rain again"] * 4


def test_the_same_tokenizer_passes() -> None:
    first = train_wordpiece(TEXTS, 60)
    require_same_tokenizer(first, Tokenizer.from_str(first.to_str()), TEXTS)


def test_the_first_token_that_differs_is_named() -> None:
    teacher, student = train_wordpiece(TEXTS, 60), train_wordpiece(TEXTS, 60)
    student.add_tokens(["fog"])
    with pytest.raises(UserError, match=r"'fog': the teacher does not know it, the student"):
        require_same_tokenizer(teacher, student)
    with pytest.raises(UserError, match=r"'fog': the teacher gives it id .* the student does not"):
        require_same_tokenizer(student, teacher)


def test_other_ids_of_the_same_tokens() -> None:
    teacher = train_wordpiece(TEXTS, 60)
    text = teacher.to_str()
    a, b = (f'"{word}":{teacher.token_to_id(word)}' for word in ("sun", "rain"))
    swapped = text.replace(a, f'"sun":{b.split(":")[1]}').replace(b, f'"rain":{a.split(":")[1]}')
    assert swapped != text
    with pytest.raises(UserError, match=r"'(sun|rain)': the teacher gives it id"):
        require_same_tokenizer(teacher, Tokenizer.from_str(swapped))


def test_the_same_tokens_cut_differently() -> None:
    teacher = train_wordpiece(TEXTS, 60)
    student = Tokenizer.from_str(teacher.to_str())
    student.normalizer = BertNormalizer(lowercase=False)
    with pytest.raises(UserError, match=r"'Rain again' becomes .*rain.* and .*\[UNK\]"):
        require_same_tokenizer(teacher, student, TEXTS)
