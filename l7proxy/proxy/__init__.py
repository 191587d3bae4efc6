"""The asyncio proxy: one worker process, its connections, and what passes between them.

From a client's bytes to the backend and back:

- ``worker``      the process; ``control`` is how the agent tells it things
- ``state``       what all connections of a worker share; ``timers`` its deadlines
- ``downstream``  a client's connection: heads, pipelining, refusals; ``transport`` its socket
- ``decisions``   from a policy snapshot to a verdict
- ``exchange``    one request and its response; ``passing`` moves the bytes, ``relay`` frames them
- ``pool``        backend connections kept for reuse; ``upstream`` is one of them
- ``tunnel``      what an accepted upgrade becomes
- ``records``     what is told about all this
- ``ports``       what is needed from outside; ``userspace`` provides it without privileges

Nothing is served that was not decided: no snapshot, an unknown client or a fault inside ends in a
refusal or a reset. Memory is bounded: each direction of a connection holds at most
``limits.body_buffer`` plus one read of the event loop, and then its sender waits.
"""
