"""Looks for the smallest artifact that passes, or the most faithful one within a size.

Whole recipes are tried first, then mixtures of their rules weight by weight. Every candidate is a
real file, judged by the real gate; what is predicted only decides what is tried.
"""
