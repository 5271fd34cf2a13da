"""Align a language model with your own hands: collect, learn, measure."""

import os

# Before torch is imported: threads that wait for work otherwise spin, and where other programs want the cores too
# everything becomes about ten times slower (measured in docs/log.md).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"
