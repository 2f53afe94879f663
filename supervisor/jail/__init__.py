"""The jail: what a confined child may still do, enforced by the Linux kernel.

Here belongs everything that knows Linux's confinement: system calls, namespaces, Landlock, seccomp, the paths a
Python process needs, and the measured level. Who is confined and how is said by the tree file; nothing here reads one.
"""
