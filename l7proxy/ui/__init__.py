"""The live map: a page that shows who asks whom for what, and what is refused by which rule.

A small server of its own between a browser and the agent's admin socket. It reads only.
"""
