"""The strategy: what it asks for, and what it takes, on surfaces that are known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from keeptune.recommend.doses import DoseRange, Setting
from keeptune.recommend.pick import Candidate
from keeptune.recommend.search import ALPHAS, Seen, Space, Tried, ask, choose

EWC, REPLAY = DoseRange(0.1, 10_000.0), DoseRange(0.02, 0.9, share=True)
PLAIN = Setting("full", 1e-3)
SPACE = Space([PLAIN], {"full": {"ewc": EWC, "replay": REPLAY}}, longer=3, spare=1.0)


def train(setting: Setting, stops: float = 90.0) -> Tried:
    """The built-in base as the pull was seen to act there: EWC 50 scored 83, lost 1.2 and 4.9 margins."""
    dose, share = setting.dose("ewc"), setting.dose("replay")
    target = 0.95 * (1 - 0.2 * share) / (1 + (dose / (stops * setting.longer**0.7)) ** 4)
    skill = 10 * (1 + dose / 8) ** -1.1 * (1 - share)
    prose = 75 * (1 + dose / 4) ** -1.05 * (1 - share) ** 3
    models = (
        Seen(alpha, target * alpha**3, 0.02, (skill * alpha**1.5, prose * alpha**1.5), (0.2, 0.1)) for alpha in ALPHAS
    )
    return Tried(setting, tuple(models))


def climb(trainings: int, space: Space = SPACE, train: Callable[[Setting], Tried] = train) -> list[Tried]:
    tried = [train(start) for start in space.starts]
    for _ in range(0, trainings, 2):
        tried += [train(setting) for setting in ask(tried, space, 2)]
    return tried


def best(tried: list[Tried]) -> float:
    return max((model.target for each in tried for model in each.models if model.worst(1.0) <= 1), default=0.0)


def test_a_dozen_trainings_find_most_of_what_there_is() -> None:
    every = [train(setting) for setting in SPACE.settings()]
    assert best([train(PLAIN)]) < 0.02
    assert best(climb(12)) > 0.9 * best(every) > 0.6


@pytest.mark.parametrize("stops", [3.0, 300.0])
def test_it_finds_the_dose_wherever_it_lies(stops: float) -> None:
    def elsewhere(setting: Setting) -> Tried:
        return train(setting.with_dose("ewc", setting.dose("ewc") * 90 / stops))

    every = [elsewhere(setting) for setting in SPACE.settings()]
    assert best(climb(12, train=elsewhere)) > 0.8 * best(every)


def test_the_same_history_asks_for_the_same_in_whatever_order_it_lies() -> None:
    tried = climb(4)
    assert ask(tried, SPACE, 2) == ask(tried[::-1], SPACE, 2)


def test_nothing_is_asked_for_twice_and_two_at_once_differ() -> None:
    tried = climb(6)
    assert len({each.setting for each in tried}) == len(tried) == 7
    first, second = ask(tried, SPACE, 2)
    assert first != second and {first, second}.isdisjoint(each.setting for each in tried)


def test_more_trainings_begin_with_the_fewer() -> None:
    assert climb(6)[: len(climb(4))] == climb(4)


def test_a_larger_share_of_noise_asks_for_no_weaker_remedies() -> None:
    tried = [train(PLAIN), train(PLAIN.with_dose("ewc", 40.0))]
    (bold,), (careful,) = (ask(tried, replace(SPACE, spare=spare)) for spare in (0.0, 3.0))
    assert [careful.dose(name) >= bold.dose(name) for name in ("ewc", "replay")] != [False, False]


def test_arms_with_other_remedies_say_nothing_and_other_rates_do() -> None:
    tried = climb(2)
    other = replace(train(PLAIN), setting=PLAIN.with_dose("kl", 1.0))
    assert ask([*tried, other], SPACE) == ask(tried, SPACE)
    slow = replace(PLAIN, lr=1e-4)
    wide = replace(SPACE, starts=[slow, PLAIN])
    assert {setting.lr for setting in wide.settings()} == {1e-4, 1e-3}


def test_a_method_without_points_on_the_way_is_judged_by_its_own_models() -> None:
    """Here only points on the way are within the margins: where there are none, nothing is worth a training."""

    def useless(setting: Setting) -> Tried:
        models = (Seen(a, 0.9 * a**0.2, 0.02, (40.0 * a**3,), (0.1,)) for a in ALPHAS)
        return Tried(setting, tuple(models))

    space = Space([PLAIN], {"full": {}}, longer=3)
    assert ask([useless(PLAIN)], space)
    assert not ask([useless(PLAIN)], replace(space, whole=frozenset({"full"})))


def test_it_ends_where_nothing_is_left_to_gain() -> None:
    def kept(setting: Setting) -> Tried:
        return Tried(setting, tuple(Seen(alpha, 0.999, 0.001, (-1.0,), (0.1,)) for alpha in ALPHAS))

    assert not ask([kept(PLAIN)], SPACE)
    assert not ask([train(PLAIN)], Space([PLAIN], {"full": {}}))  # nothing else may be tried


def test_no_training_has_more_than_two_remedies() -> None:
    pulls = {"ewc": EWC, "replay": REPLAY, "kl": DoseRange(0.01, 30.0)}
    settings = Space([PLAIN], {"full": pulls}).settings()
    assert {len(setting.doses) for setting in settings} == {0, 1, 2}
    assert {name for setting in settings for name, _ in setting.doses} == set(pulls)
    assert len(set(settings)) == len(settings)


def test_doses_spread_evenly_over_their_scale() -> None:
    assert DoseRange(1.0, 1000.0).spread(4) == (1.0, 10.0, 100.0, 1000.0)
    shares = REPLAY.spread(9)
    assert shares[0] == 0.02 and shares[-1] == 0.9 and list(shares) == sorted(shares)
    np.testing.assert_allclose(EWC.reach(np.array([0.0, 10_000.0])), [0.0, 1.0])
    assert (np.diff(REPLAY.reach(np.array(shares))) > 0).all()
    with pytest.raises(ValueError, match="no range of doses"):
        DoseRange(0.1, 1.0, share=True)


def candidate(name: str, right: int, worst: float) -> Candidate:
    scores = np.r_[np.ones(right), np.zeros(100 - right)]
    return Candidate(name, worst, scores, tier=0 if worst <= 1 else 2)


def test_the_choice_is_within_the_margins_and_of_those_that_tie_the_safest() -> None:
    nothing = np.zeros(100)
    models = [candidate("bold", 90, 1.1), candidate("best", 80, 0.9), candidate("safe", 80, 0.2)]
    found = choose([*models, candidate("timid", 60, 0.1)], nothing)
    assert found is not None and found.name == "safe"


def test_nothing_is_chosen_that_learned_nothing_or_breaks_a_margin() -> None:
    nothing = np.zeros(100)
    assert choose([candidate("bold", 90, 1.1)], nothing) is None
    assert choose([candidate("idle", 0, 0.0)], nothing) is None
    assert choose([], nothing) is None
