"""Fixtures of the end-to-end tests."""

from tests.support.pods import node

__all__ = ["node"]
