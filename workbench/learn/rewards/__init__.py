"""Reward models and process reward models: their files, scoring, the gate and its verdict, reward sources."""
