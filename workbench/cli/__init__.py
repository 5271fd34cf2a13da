"""The commands: main.py is the table, shared.py what they share, runs.py the list of runs, sampling.py best-of-n and rejection."""
