"""What HTTP/1.1 is here: reading, judging and rewriting messages, without any input or output.

Strict where RFC 9112 leaves a choice, because two readings of one message are how requests are
smuggled past a policy. One rule stands in one place:

- ``grammar``    the characters and the regular expressions of a well-formed head
- ``head``       where a head ends, and the earliest byte that makes it malformed
- ``authority``  ``Host`` and the authority of a target
- ``normalize``  the one spelling of a path
- ``target``     the forms of a request target
- ``connection`` connection options and the fields that end at this hop
- ``framing``    how long a message's content is
- ``request``, ``response``  a head's meaning
- ``body``       content as it arrives, and as it is sent on
- ``forward``    the head that is sent on
- ``answers``    our own responses
"""
