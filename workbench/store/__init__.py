"""Everything people wrote and judged, in one database: the only SQL of the workbench.

tables.py: the schema and how rows become records. database.py: connections, migrations, the writer that
commits in groups. writing.py: what one transaction does. store.py: `Store`, what everybody uses.
"""

from workbench.store.database import StoreBusy, StoreError, StoreTooNew
from workbench.store.store import Store
from workbench.store.writing import Added, Conflict

__all__ = ["Added", "Conflict", "Store", "StoreBusy", "StoreError", "StoreTooNew"]
