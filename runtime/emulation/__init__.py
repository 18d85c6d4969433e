"""The same session under another processor: qemu runs the runtimes' own builds for it.

int8 arithmetic differs between processors, so a gate that passed on the machine of a developer says
little of a phone. Nothing here needs root, and nothing on the host is changed: all lies in one
folder, see `runtime.provisioning.cache`.
"""
