"""`python -m redshank` is the `redshank` command."""

from redshank.cli import main

raise SystemExit(main())
