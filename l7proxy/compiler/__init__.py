"""Regular expressions of HTTP rules as byte automata: one meaning, RE2's, in flat tables.

``syntax`` reads a pattern, ``nfa`` turns it into an automaton over bytes, ``dfa`` makes one table
of many, ``fields`` one table for each field that the rules of an admission look at, and
``execute`` decides a request with these. Pure: no sockets, no event loop, no kernel.
"""
