"""What the kernel road will run, as flat tables: rules and HTTP heads as byte automata. Pure.

Rules: ``syntax`` reads an RE2 pattern, ``nfa`` turns it into an automaton over bytes, ``dfa`` makes
one table of many, ``fields`` one for each field that the rules of an admission look at, and
``execute`` decides a request with these.

Heads: ``head_request`` and ``head_response`` are HTTP/1.1 as ``l7proxy.http`` reads it, built with
``head_automaton``; ``head_walk`` is the loop over a table, and ``head_machine`` follows a
connection with it.

``rules_map`` and ``head_map`` lay both out for the kernel's maps, ``fit`` says which admissions
they hold, and ``judge`` what becomes of a request.
"""
