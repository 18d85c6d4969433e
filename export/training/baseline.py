"""What the transformer has to beat: tf-idf words and a logistic regression."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from export.data.task import Example, TextDataset
from export.training.metrics import main_metric, multi_label_metrics, single_label_metrics

# One-letter words count too.
_WORD = r"(?u)\b\w+\b"


def bag_of_words_metric(dataset: TextDataset, split: str) -> float:
    """Train on the training split, score one split with the task's main metric.

    Unigrams and scikit-learn's defaults apart from sublinear term counts and C = 10, the better of
    1 and 10 on our samples and on uci_news; one-versus-rest for multi-label.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.pipeline import make_pipeline

    train, rows = dataset.splits["train"], dataset.splits[split]
    classifier = LogisticRegression(C=10.0, max_iter=1000)
    model = make_pipeline(
        TfidfVectorizer(sublinear_tf=True, token_pattern=_WORD),
        OneVsRestClassifier(classifier) if dataset.is_multi_label else classifier,
    )
    texts = [example.text for example in rows]
    if not dataset.is_multi_label:
        model.fit([e.text for e in train], [e.labels[0] for e in train])
        targets = np.array([e.labels[0] for e in rows], dtype=np.int64)
        return single_label_metrics(model.predict(texts), targets)[main_metric(multi_label=False)]
    model.fit([e.text for e in train], _indicators(train, len(dataset.labels)))
    chosen = model.predict(texts).astype(np.bool_)
    targets_matrix = _indicators(rows, len(dataset.labels)).astype(np.bool_)
    return multi_label_metrics(chosen, targets_matrix)[main_metric(multi_label=True)]


def _indicators(examples: tuple[Example, ...], labels: int) -> npt.NDArray[np.int64]:
    matrix = np.zeros((len(examples), labels), dtype=np.int64)
    for row, example in enumerate(examples):
        matrix[row, list(example.labels)] = 1
    return matrix
