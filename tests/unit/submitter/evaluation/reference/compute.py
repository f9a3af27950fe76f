# /// script
# requires-python = ">=3.11"
# dependencies = ["scikit-learn==1.9.1", "scipy==1.17.1", "statsmodels==0.15.0"]
# ///
"""Computes with scikit-learn, SciPy and statsmodels the figures that the tests compare with.

    uv run tests/unit/submitter/evaluation/reference/compute.py

writes `figures.json` beside itself: 400 rows drawn at random, and what the libraries say of them.
The libraries are 300 MB; so the tests read the file, and do not need them.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats
from sklearn import calibration, metrics
from statsmodels.stats import contingency_tables, inter_rater, proportion

NAMES = ["none", "duplicate", "excess tax", "returned"]
ROWS = 400


def rows() -> list[dict[str, Any]]:
    """Draw rows with a label, two answers, a confidence, and two amounts."""
    draw = random.Random(17)
    made = []
    for _ in range(ROWS):
        label = draw.choices(NAMES, weights=(6, 2, 1, 1))[0]
        chance = draw.choice((0.55, 0.7, 0.85, 0.95))
        amount = round(draw.lognormvariate(4, 1), 2)
        made.append(
            {
                "label": label,
                "answer": label if draw.random() < chance else draw.choice(NAMES),
                "other": label if draw.random() < 0.9 else draw.choice(NAMES),
                "confidence": round(min(1.0, chance + draw.uniform(-0.05, 0.05)), 3),
                "amount": amount,
                "given": round(amount + draw.gauss(0.5, 4), 2),
            }
        )
    return made


def bootstrap(statistic: Any, *samples: Any) -> list[float]:
    """Return the percentile interval."""
    found = stats.bootstrap(
        samples,
        statistic,
        paired=True,
        vectorized=False,
        n_resamples=4000,
        method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval
    return [float(found.low), float(found.high)]


def of_classes(label: list[str], answer: list[str]) -> dict[str, Any]:
    """Return the figures of classes."""
    precision, recall, f1, support = metrics.precision_recall_fscore_support(
        label, answer, labels=NAMES
    )
    table = metrics.confusion_matrix(label, answer, labels=NAMES)
    kappa = inter_rater.cohens_kappa(table)

    def macro(one: Any, two: Any) -> float:
        return float(metrics.f1_score(one, two, labels=NAMES, average="macro"))

    return {
        "names": NAMES,
        "confusion": table.tolist(),
        "precision": precision.tolist(),
        "recall": recall.tolist(),
        "f1": f1.tolist(),
        "support": support.tolist(),
        "macro_f1": macro(label, answer),
        "macro_f1_interval": bootstrap(macro, label, answer),
        "kappa": float(metrics.cohen_kappa_score(label, answer)),
        "kappa_interval": [float(kappa.kappa_low), float(kappa.kappa_upp)],
    }


def of_amounts(label: Any, answer: Any) -> dict[str, Any]:
    """Return the figures of amounts."""
    errors = np.abs(answer - label)
    quantiles = {}
    for share in (0.5, 0.95):
        test = stats.quantile_test(errors, p=share)
        interval = test.confidence_interval(0.95)
        quantiles[str(share)] = [
            float(np.quantile(errors, share)),
            float(interval.low),
            float(interval.high),
        ]
    return {
        "mean_error": float(metrics.mean_absolute_error(label, answer)),
        "mean_error_interval": bootstrap(metrics.mean_absolute_error, label, answer),
        "median_error": float(metrics.median_absolute_error(label, answer)),
        "bias": float(np.mean(answer - label)),
        "bias_interval": bootstrap(lambda one, two: np.mean(two - one), label, answer),
        "quantiles": quantiles,
    }


def of_confidence(is_right: Any, confidence: Any) -> dict[str, Any]:
    """Return the figures of a confidence."""
    # Both put an edge of two bins into the lower one, as ours does.
    bins = np.clip(np.ceil(confidence * 10).astype(int) - 1, 0, 9)
    counts = np.bincount(bins, minlength=10)
    right, stated = calibration.calibration_curve(is_right, confidence, n_bins=10)
    filled = counts[counts > 0]
    return {
        "brier": float(metrics.brier_score_loss(is_right, confidence)),
        "brier_interval": bootstrap(metrics.brier_score_loss, is_right, confidence),
        "auc": float(metrics.roc_auc_score(is_right, confidence)),
        "auc_interval": bootstrap(metrics.roc_auc_score, is_right, confidence),
        "error": float(np.sum(filled * np.abs(right - stated)) / len(confidence)),
        "overconfidence_interval": bootstrap(
            lambda one, two: np.mean(two - one), is_right, confidence
        ),
        "bins": [
            [int(count), float(one), float(two)]
            for count, one, two in zip(filled, stated, right, strict=True)
        ],
    }


def main() -> None:
    """Write the file."""
    drawn = rows()
    columns = {name: [row[name] for row in drawn] for name in drawn[0]}
    first = np.array([a == b for a, b in zip(columns["label"], columns["answer"], strict=True)])
    second = np.array([a == b for a, b in zip(columns["label"], columns["other"], strict=True)])
    shares = [(0, 10), (1, 10), (9, 10), (10, 10), (1, 1), (37, 400), (1_873, 2_000), (2, 100_000)]
    pairs = [(0, 0), (0, 5), (3, 3), (10, 25), (25, 10), (4, 5), (120, 170), (3_000, 3_100)]
    amounts = np.array(columns["amount"]), np.array(columns["given"])
    figures = {
        "rows": drawn,
        "wilson": [
            [hits, of, *map(float, proportion.proportion_confint(hits, of, method="wilson"))]
            for hits, of in shares
        ],
        "mcnemar": [
            [b, c, float(contingency_tables.mcnemar([[0, b], [c, 0]], exact=True).pvalue)]
            for b, c in pairs
        ],
        "classes": of_classes(columns["label"], columns["answer"]),
        "amounts": of_amounts(*amounts),
        "confidence": of_confidence(first.astype(int), np.array(columns["confidence"])),
        "paired": {
            "gained": int(np.sum(first & ~second)),
            "lost": int(np.sum(second & ~first)),
            "interval": bootstrap(
                lambda one, two: np.mean(one) - np.mean(two),
                first.astype(float),
                second.astype(float),
            ),
        },
    }
    lines = [f"{json.dumps(name)}: {_pretty(value)}" for name, value in figures.items()]
    out = Path(__file__).with_name("figures.json")
    out.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")


def _pretty(value: Any) -> str:
    """Return JSON with an entry a line."""
    if isinstance(value, dict):
        return (
            "{\n "
            + ",\n ".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in value.items())
            + "}"
        )
    return "[\n " + ",\n ".join(map(json.dumps, value)) + "]"


if __name__ == "__main__":
    main()
