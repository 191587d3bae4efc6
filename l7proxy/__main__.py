"""``python -m l7proxy`` is the ``l7proxy`` command."""

from l7proxy.cli.main import main

if __name__ == "__main__":
    main()
