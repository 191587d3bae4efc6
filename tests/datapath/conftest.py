"""Fixtures of the datapath's tests."""

from __future__ import annotations

from tests.support.pods import node

__all__ = ["node"]
