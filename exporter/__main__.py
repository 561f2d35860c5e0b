"""`python -m exporter` is the command `genesys-cloud-exporter`."""

from exporter.cli import main

raise SystemExit(main())
