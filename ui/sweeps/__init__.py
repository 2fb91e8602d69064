"""Sweeps: many runs from one form, and how they come along."""
