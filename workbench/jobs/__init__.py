"""Training jobs, each a process of its own that outlives page and app; what is to be known lies in its run folder.

runs.py reads them, prepare.py makes them, control.py starts and stops them, worker.py is the process. No torch.
"""
