"""Models on this machine: GGUF files that run through llama.cpp, each in a process of its own.

`gguf` reads what a file says of itself, `catalog` keeps the list of files, `shelf` is the provider that has them started
and talks to them, and `small` is what a small model needs besides. Native code is loaded in `egghead.processes.model` only.
"""
