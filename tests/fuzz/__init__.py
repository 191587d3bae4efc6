"""Coverage-guided fuzzing of everything that others can write: ``python -m tests.fuzz``.

A target is a plain function of bytes that raises where the product does what it must not; the
tests run each over its seeds, and atheris, where it is installed, over what it makes of them.
"""
