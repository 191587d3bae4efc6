"""The datapath's driver with the regular work that an agent does: the given-up are reset.

Run as ``python -m tests.kernel_road.driver CONFIG``, see ``tests/datapath/driver.py``.
"""

from __future__ import annotations

import json
import select
import sys
from pathlib import Path

from tests.datapath.driver import Driver

TEND_SECONDS = 0.2


def main() -> None:
    """Answers until standard input ends; tends whenever it has nothing to answer."""
    driver = Driver(Path(sys.argv[1]))
    is_open = False
    while True:
        # One request at a time: what select() says of the descriptor holds for the buffer too.
        if not select.select([sys.stdin], [], [], TEND_SECONDS)[0]:
            if is_open:
                driver.datapath.tend()
            continue
        line = sys.stdin.readline()
        if not line:
            return
        request = json.loads(line)
        op = request.pop("op")
        try:
            answer = {"ok": getattr(driver, op)(**request)}
        except Exception as error:  # whatever went wrong belongs to the test that asked
            answer = {"error": f"{type(error).__name__}: {error}"}
        is_open = op != "close" and (is_open or op == "apply")
        print(json.dumps(answer, default=str), flush=True)


if __name__ == "__main__":
    main()
