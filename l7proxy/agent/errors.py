"""What keeps the agent from starting or going on."""

from __future__ import annotations


class AgentError(Exception):
    """The agent cannot run; the text is one line for its user: what, where, what to do."""
