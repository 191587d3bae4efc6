"""Whether the kernel can decide an admission's requests: the tables, or why there are none."""

from __future__ import annotations

from collections.abc import Container, Hashable

from l7proxy.compiler.admission import compile_admission
from l7proxy.compiler.cache import DfaCache
from l7proxy.compiler.errors import DEFAULT_BOUNDS, TooLarge, Unsupported
from l7proxy.compiler.head_machine import unfollowed
from l7proxy.compiler.head_request import request_grammar
from l7proxy.compiler.rules_map import size_class
from l7proxy.compiler.tables import Tables, watched
from l7proxy.limits import Limits
from l7proxy.policy.roads import NO_ROOM
from l7proxy.policy.verdict import Admission


class KernelFit:
    """Compiles what the kernel road would decide, each set of rules once.

    ``cache`` holds the automata of longer than one of these, so that a policy set that differs
    in one policy is compiled in one policy. ``no_room`` has the digests of tables that fit, but
    not beside those of the whole set, as ``datapath.tables`` finds out.
    """

    def __init__(
        self, limits: Limits, cache: DfaCache | None = None, no_room: Container[str] = ()
    ) -> None:
        self._unfollowed = unfollowed(limits)
        self._cache = DfaCache() if cache is None else cache
        self._no_room = no_room
        # The admission is kept with what it became: the ids in its key stay those of its rules.
        self._found: dict[Hashable, tuple[Admission, Tables | str]] = {}

    def tables(self, admission: Admission) -> Tables | str:
        """The tables that decide, or in one sentence why the kernel has none for these rules."""
        key = tuple(
            (layer.direction, layer.moot, layer.default_allow, *map(id, layer.rules))
            for layer in admission.layers
        )
        known = self._found.get(key)
        if known is None:
            known = self._found[key] = (admission, self._compile(admission))
        return known[1]

    def unfit(self, admission: Admission) -> str | None:
        """Why the kernel has no tables for these rules, as ``policy.roads`` asks; else None."""
        found = self.tables(admission)
        return found if isinstance(found, str) else None

    def _compile(self, admission: Admission) -> Tables | str:
        if self._unfollowed is not None:
            return self._unfollowed
        try:
            tables = compile_admission(admission, DEFAULT_BOUNDS, self._cache)
            size_class(tables)
            request_grammar(watched(tables.fields))
        except Unsupported as error:
            return f"the kernel has no table for these rules: {error.reason}"
        except TooLarge as error:
            return f"the rules need {error}"
        return NO_ROOM if tables.digest in self._no_room else tables
