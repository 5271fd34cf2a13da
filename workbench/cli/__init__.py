"""The commands: main.py is the table, shared.py what they share, sampling.py best-of-n and rejection."""
