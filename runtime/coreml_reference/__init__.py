"""Reads and executes saved Core ML programs (.mlpackage) with numpy alone, on any system.

Apple's own runtime exists on its systems only. This package is the reference executor that stands
in for it elsewhere: it reads the saved package strictly, refuses what it does not know by name, and
computes every operation by the text of Apple's MIL op specification.
"""
