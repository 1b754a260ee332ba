"""``python -m imagectl``."""

from imagectl.cli.main import main

main()
