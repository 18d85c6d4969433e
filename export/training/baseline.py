"""What the transformer has to beat: tf-idf words and a logistic regression."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from export.data.task import Example, TextDataset
from export.training.metrics import main_metric, multi_label_metrics, single_label_metrics

# One-letter words count too.
_WORD = r"(?u)\b\w+\b"


def bag_of_words_metrics(dataset: TextDataset, splits: tuple[str, ...]) -> dict[str, float]:
    """Train once on the training split; split → the task's main metric.

    Unigrams and scikit-learn's defaults apart from sublinear term counts and C = 10, the better of
    1 and 10 on our samples and on uci_news; one-versus-rest for multi-label.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.pipeline import make_pipeline

    classifier = LogisticRegression(C=10.0, max_iter=1000)
    model = make_pipeline(
        TfidfVectorizer(sublinear_tf=True, token_pattern=_WORD),
        OneVsRestClassifier(classifier) if dataset.is_multi_label else classifier,
    )
    train = dataset.splits["train"]
    model.fit([example.text for example in train], _targets(train, dataset))
    name = main_metric(multi_label=dataset.is_multi_label)
    scores = {}
    for split in splits:
        rows = dataset.splits[split]
        chosen, targets = model.predict([e.text for e in rows]), _targets(rows, dataset)
        if dataset.is_multi_label:
            metrics = multi_label_metrics(chosen.astype(np.bool_), targets.astype(np.bool_))
        else:
            metrics = single_label_metrics(chosen, targets)
        scores[split] = metrics[name]
    return scores


def _targets(examples: tuple[Example, ...], dataset: TextDataset) -> npt.NDArray[np.int64]:
    """Label indices [texts], or 0/1 [texts, labels] for multi-label."""
    if not dataset.is_multi_label:
        return np.array([example.labels[0] for example in examples], dtype=np.int64)
    matrix = np.zeros((len(examples), len(dataset.labels)), dtype=np.int64)
    for row, example in enumerate(examples):
        matrix[row, list(example.labels)] = 1
    return matrix
