"""Files in and out, in one place: see importing.py (read, import_file), exporting.py (write), converters.py (the formats)."""

from workbench.collect.exporting import EXPORTS, write
from workbench.collect.files import Bad, FileError, inside
from workbench.collect.importing import Imported, Report, import_file, read

__all__ = ["EXPORTS", "Bad", "FileError", "Imported", "Report", "import_file", "inside", "read", "write"]
