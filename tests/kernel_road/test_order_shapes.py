"""Whatever an answer looks like, a refusal comes behind its end, or not at all.

Seen to fail: with ``ENTRY_ANSWER`` for every request in bpf/judge.h the answers to HEAD; with
``answer_lost`` never set in bpf/response.c those that end with the connection.
"""
