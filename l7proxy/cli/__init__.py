"""The ``l7proxy`` command: one module for each subcommand."""
