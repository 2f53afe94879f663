"""How a process is made on this machine: the zygote, its children until their first line of code, and the root's end.

`server` is the zygote, `child` what runs in each child, `launcher` the root's side of both; the others serve these
three. Which child is started, when, and what its end means is decided elsewhere. Nothing is imported here: every
module more is memory of every child.
"""
