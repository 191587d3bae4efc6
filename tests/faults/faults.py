"""All that goes wrong, by name; and nothing, which no metric may tell of."""

from __future__ import annotations

import time
from collections.abc import Mapping

from tests.faults import files, network, processes, resources
from tests.faults.fault import Fault
from tests.faults.samples import Metric
from tests.faults.town import Town

FAULTS: Mapping[str, Fault] = processes.FAULTS | files.FAULTS | resources.FAULTS | network.FAULTS
CALM_SECONDS = 8.0
NOTHING = "nothing"


def nothing(_: Town) -> None:
    """Goes wrong."""
    time.sleep(CALM_SECONDS)


SILENCE = Metric("none of these", lambda samples: 0.0, 0.0)
CONTROL = Fault(nothing, SILENCE, silent=tuple(fault.metric for fault in FAULTS.values()))
