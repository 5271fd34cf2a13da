"""Align a language model with your own hands: collect, learn, measure."""

import os

# Before torch is imported: threads that wait for work otherwise spin, and where other programs want the cores too
# everything becomes about ten times slower (measured in docs/log.md).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# oneDNN keeps what it prepared for 1,024 shapes, twice (PyTorch's wrapper and itself). Every batch of texts brings new
# shapes: memory then grows for hundreds of steps, for no speed (docs/log.md).
for cache in ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY"):
    os.environ.setdefault(cache, "128")

__version__ = "0.1.0"
