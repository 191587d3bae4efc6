"""A mixed load on the kernel road for as long as it is told, every answer of it checked.

``python -m tests.kernel_road.soak --minutes 60``. The node is the tests' own (``town.py``); a
server, and a process of clients for each way, run in it and report as lines of JSON.
"""
