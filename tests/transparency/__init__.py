"""Test suites that others wrote, run with and without the datapath under their sockets."""
