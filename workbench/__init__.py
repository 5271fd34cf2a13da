"""Align a language model with your own hands: collect, learn, measure."""

__version__ = "0.1.0"
