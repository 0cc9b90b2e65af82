"""All suites of an arm together, and where its losses lie."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from keeptune.core.records import ItemRecord, Overall
from keeptune.retention.arm import judge_arm
from keeptune.retention.losses import SAMPLES, TEXT, losses
from keeptune.retention.overall import overall
from keeptune.retention.pairs import PairedScores, Suite
from keeptune.retention.verdict import judge

SKILL = Suite("addition", "accuracy", "binary", 0.02)
PROSE = Suite("prose", "bits_per_byte", "bits_per_byte", 0.01)


def flips(lost: int, gained: int, n: int) -> PairedScores:
    before, after = np.ones(n), np.ones(n)
    after[:lost] = 0
    before[lost : lost + gained] = 0
    index = np.arange(n)
    return PairedScores(index, index, before, after, np.ones(n))


def together(*pairs: tuple[Suite, PairedScores]) -> Overall | None:
    named = [(replace(suite, name=f"{suite.name} {i}"), scores) for i, (suite, scores) in enumerate(pairs)]
    return overall(named, judge(named))


def test_small_losses_on_many_suites_show_together() -> None:
    pairs = [(SKILL, flips(14, 6, 500))] * 9
    assert not any(v.verdict in ("Worse", "Harmed") for v in judge(pairs))
    found = together(*pairs)
    assert found is not None
    assert found.suites == 9
    assert found.change == pytest.approx(-0.8)
    assert found.p < 0.001
    assert found.sentence == (
        "all 9 measurable suites together: something was lost"
        f" (−0.80 margins on the mean suite, 95 % CI {found.interval.low:.2f} to {found.interval.high:.2f}, p < 0.001)"
    ).replace("-", "−")


def test_each_suite_counts_alike_in_its_own_margins() -> None:
    found = together((SKILL, flips(30, 10, 1000)), (replace(SKILL, margin=0.04), flips(0, 0, 100)))
    assert found is not None
    assert found.change == pytest.approx((-0.02 / 0.02 + 0) / 2)


def test_nothing_flipped_is_no_certainty() -> None:
    found = together((SKILL, flips(0, 0, 40)), (SKILL, flips(0, 0, 40)))
    assert found is not None
    assert found.p > 0.4
    assert found.interval.low < -2 < 2 < found.interval.high
    assert "no loss is shown" in found.sentence


def test_gains_are_no_loss() -> None:
    found = together((SKILL, flips(6, 40, 500)), (SKILL, flips(6, 40, 500)))
    assert found is not None
    assert found.p > 0.99


def test_p_and_interval_agree() -> None:
    """A one-sided p of .025 lies where the upper end of the two-sided interval meets zero."""
    found = [together((SKILL, flips(lost, 10, 400)), (SKILL, flips(lost, 10, 400))) for lost in range(10, 40)]
    for each in found:
        assert each is not None
        assert (each.p < 0.025) == (each.interval.high < 0)
    assert {each.p < 0.025 for each in found if each} == {True, False}


def test_what_cannot_be_measured_takes_no_part() -> None:
    guessing = (replace(SKILL, name="guessing", chance=0.99), flips(90, 0, 100))
    assert overall([(SKILL, flips(5, 5, 500)), guessing], judge([(SKILL, flips(5, 5, 500)), guessing])) is None


def items(suite: str, scores: list[float], **more: list[str]) -> list[ItemRecord]:
    n = len(scores)
    labels, clusters = more.get("labels", [""] * n), more.get("clusters", [str(i) for i in range(n)])
    said = more.get("said", ["x"] * n)
    return [
        ItemRecord(
            suite=suite,
            id=f"i{i}",
            cluster=clusters[i],
            score=scores[i],
            label=labels[i] or None,
            prediction=said[i],
            prompt="p" * (2 * TEXT),
            references=(labels[i],),
        )
        for i in range(n)
    ]


def test_labels_and_clusters_are_ordered_by_what_they_lost() -> None:
    labels, clusters = ["red", "green", "blue", "red", "green", "blue"] * 4, ["a", "b", "c"] * 8
    after = [0.0 if label == "red" or i == 1 else 1.0 for i, label in enumerate(labels)]
    shared = {"labels": labels, "clusters": clusters}
    found = losses(SKILL, items("addition", [1.0] * 24, **shared), items("addition", after, **shared))
    assert found is not None
    assert (found.lost, found.gained, found.n) == (9, 0, 24)
    assert [(g.by, g.name, g.lost, g.n, g.change) for g in found.groups] == [
        ("label", "red", 8, 8, -1.0),
        ("label", "green", 1, 8, -0.125),
        ("cluster", "a", 8, 8, -1.0),
        ("cluster", "b", 1, 8, -0.125),
    ]
    assert [(s.id, s.label, s.change) for s in found.samples] == [
        ("i0", "red", -1.0),
        ("i1", "green", -1.0),
        ("i3", "red", -1.0),
    ]
    assert len(found.samples) == SAMPLES
    assert len(found.samples[0].prompt) < TEXT + 10


def test_items_that_share_nothing_have_no_groups_and_no_loss_has_no_record() -> None:
    before = items("addition", [1.0] * 6, labels=list("abcdef"))
    found = losses(SKILL, before, items("addition", [0.0] + [1.0] * 5, labels=list("abcdef")))
    assert found is not None
    assert found.groups == ()
    assert losses(SKILL, before, before) is None


def test_bits_per_byte_that_rise_are_losses_relative_to_the_bits_before() -> None:
    clusters = ["a", "a", "b", "b"]
    before = items("prose", [2.0, 2.0, 1.0, 1.0], clusters=clusters)
    found = losses(PROSE, before, items("prose", [2.2, 2.0, 1.0, 0.9], clusters=clusters))
    assert found is not None
    assert (found.lost, found.gained) == (1, 1)
    assert [(g.name, round(g.change, 9)) for g in found.groups] == [("a", -0.05)]
    assert round(found.samples[0].change, 9) == -0.1


def test_an_arm_of_equal_weights_lost_nothing() -> None:
    before = items("addition", [1.0] * 50)
    kept = judge_arm([(SKILL, before, before)] * 2, same_weights=True)
    assert [v.verdict for v in kept.suites] == ["Retained", "Retained"]
    assert kept.overall is None
    assert kept.losses == ()
