"""`python -m faceloom`."""

from faceloom.cli.main import main

main()
