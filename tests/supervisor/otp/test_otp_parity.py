"""Random scenarios on our policy and on the real `supervisor` of Erlang/OTP: the same lines in the same order."""

from __future__ import annotations

import json
import os
from random import Random

import pytest

from tests.supervisor.otp.parity import ESCRIPT, Scenario, compare, otp, scenario, shrink

COUNT = int(os.environ.get("EGGHEAD_OTP_SCENARIOS", "150"))

pytestmark = pytest.mark.skipif(ESCRIPT is None, reason="needs escript (Debian: erlang-base)")


@pytest.mark.timeout(600)
def test_parity() -> None:
    """Real OTP does the same as `simulate` on random trees and events (EGGHEAD_OTP_SCENARIOS sets how many)."""
    seed = Random().randrange(10**9)
    random = Random(seed)
    scenarios: list[Scenario] = [scenario(random) for _ in range(COUNT)]
    verdicts = [compare(each, theirs) for each, theirs in zip(scenarios, otp(scenarios), strict=True)]
    if "different" in verdicts:
        smallest = shrink(scenarios[verdicts.index("different")])
        pytest.fail(f"seed {seed}: {json.dumps(smallest)}")
    assert verdicts.count("equal") > 0.97 * COUNT
