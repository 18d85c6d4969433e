"""Distillation: a small student learns from a big teacher, in general or for one task."""
