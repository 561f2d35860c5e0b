"""Everything the operator can set: from what is written to one frozen `Settings`, or to every fault at once.

    sources ──texts──▶ model (values, addresses, files) ──Settings──▶ rules ──▶ Settings with warnings
                         └─ what cannot be read: telling ──────────────┴──▶ SettingsError

This is the door: nobody else imports what is inside. Opens no socket and changes no file. Only `app`, its helpers and
`cli` read settings.
"""

from exporter.settings.defaults import THRESHOLDS as DEFAULT_THRESHOLDS
from exporter.settings.loading import load_settings
from exporter.settings.model import MEMORY, VARIABLES, Settings

__all__ = ["DEFAULT_THRESHOLDS", "MEMORY", "VARIABLES", "Settings", "load_settings"]
