"""tf-idf words and a logistic regression."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from export.data.task import TextDataset
from export.training.baselines.targets import label_matrix
from runtime.errors import UserError

Floats = npt.NDArray[np.float64]

# One-letter words count too.
_WORD = r"(?u)\b\w+\b"
# The better of 1 and 10 on our samples and on uci_news.
_C = 10.0
_MOST_ITERATIONS = 1000
# A logit that leaves no doubt.
_CERTAIN = 30.0


class BagOfWords:
    """Unigrams, sublinear term counts, one-versus-rest for multi-label.

    scikit-learn's defaults otherwise.
    """

    name = "bag_of_words"

    def __init__(self, dataset: TextDataset, *, class_weights: Sequence[float] | None) -> None:
        self._multi_label = dataset.is_multi_label
        self._labels = len(dataset.labels)
        self._weights = class_weights

    def fit(self, dataset: TextDataset) -> None:
        """Train on the training split."""
        from sklearn.feature_extraction.text import TfidfVectorizer
        from threadpoolctl import threadpool_limits

        rows = dataset.splits["train"]
        self._vectorizer = TfidfVectorizer(sublinear_tf=True, token_pattern=_WORD)
        truth = label_matrix(rows, self._labels)
        # Many small products: on a busy machine two BLAS threads took 25 times as long as one.
        with threadpool_limits(1):
            try:
                counts = self._vectorizer.fit_transform([row.text for row in rows])
            except ValueError as error:
                raise UserError(
                    "the training texts hold no word", why="they have no letter and no digit"
                ) from error
            fitted = self._one_by_one(counts, truth) if self._multi_label else None
            weight, self._bias = fitted or self._classes(counts, truth.argmax(axis=1))
            # [words, labels] in one piece, which a product with a sparse row would copy otherwise.
            self._weight = np.ascontiguousarray(weight.T)

    def logits(self, texts: Sequence[str]) -> Floats:
        """Decision values, float64 [texts, labels]."""
        return np.asarray(self._vectorizer.transform(texts) @ self._weight + self._bias)

    @property
    def parameters(self) -> int:
        """Coefficients and intercepts."""
        return int(self._weight.size + self._bias.size)

    @property
    def bytes(self) -> int:
        """Coefficients and inverse document frequencies in float32, and the words."""
        words = self._vectorizer.vocabulary_
        named = sum(len(word.encode("utf-8", "surrogatepass")) + 1 for word in words)
        return 4 * (self.parameters + len(words)) + named

    @property
    def settings(self) -> dict[str, Any]:
        """What a reader needs in order to repeat it."""
        return {"C": _C, "sublinear_tf": True, "words": len(self._vectorizer.vocabulary_)}

    def _one_by_one(self, counts: Any, truth: npt.NDArray[np.bool_]) -> tuple[Floats, Floats]:
        """Weights [labels, words] and biases [labels]; a label that never or always holds is so."""
        weight, bias = np.zeros((self._labels, counts.shape[1])), np.zeros(self._labels)
        for label, column in enumerate(truth.T):
            if column.all() or not column.any():
                bias[label] = _CERTAIN if column[0] else -_CERTAIN
                continue
            share = None if self._weights is None else {0: 1.0, 1: float(self._weights[label])}
            model = _logistic_regression(share).fit(counts, column.astype(np.int64))
            weight[label], bias[label] = model.coef_[0], model.intercept_[0]
        return weight, bias

    def _classes(self, counts: Any, classes: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
        """The same; a class without a training text is never given."""
        weight = np.zeros((self._labels, counts.shape[1]))
        bias = np.full(self._labels, -_CERTAIN)
        found = np.unique(classes)
        if len(found) == 1:
            bias[found] = 0.0
            return weight, bias
        shares = self._weights
        given = None if shares is None else {int(i): float(shares[i]) for i in found}
        model = _logistic_regression(given).fit(counts, classes)
        both = len(found) == 2  # one row stands for both classes
        weight[found] = np.outer((-0.5, 0.5), model.coef_[0]) if both else model.coef_
        bias[found] = np.multiply((-0.5, 0.5), model.intercept_[0]) if both else model.intercept_
        return weight, bias


def _logistic_regression(class_weight: dict[int, float] | None) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=_C, max_iter=_MOST_ITERATIONS, class_weight=class_weight)
