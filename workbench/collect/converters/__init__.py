"""From a row of somebody's format to records, one small function per format; table.py says which format a row is of.

A converter raises ValueError saying what is wrong with the row. Response ids in the records are local (1, 2, ...).
"""

from workbench.collect.converters.answers import prompt_alone
from workbench.collect.converters.records import Origin, Record, Unused
from workbench.collect.converters.table import FORMATS, Format, format_of

__all__ = ["FORMATS", "Format", "Origin", "Record", "Unused", "format_of", "prompt_alone"]
