"""What a program without privileges does to get a request past its policy.

Run as a plain file by an isolated interpreter, as nobody, in the place of a client: descriptor of
the control socket, name of an attack, its arguments as JSON. ``parcel`` is the target that the
attack wants to reach the server; each attack is also tried with one that is allowed, which must
arrive. Says its progress and its result as JSON datagrams, and waits for signs.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # isolated: only the standard library is there
import common
import memory
import sockets
import streams
import threads

if __name__ == "__main__":
    common.talk(int(sys.argv[1]))
    attacks = {**vars(streams), **vars(sockets), **vars(memory), **vars(threads)}
    common.say(attacks[sys.argv[2]](**json.loads(sys.argv[3])))
