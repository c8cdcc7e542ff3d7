"""`python -m changeling`."""

from changeling.cli import main

main()
