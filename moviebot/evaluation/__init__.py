"""Figures for what people see: answers, the movie found, recommendations; ours beside the baselines."""
