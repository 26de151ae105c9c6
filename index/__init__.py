"""Index kinds: vectors in, neighbours out. Arrays only; no file is opened here.

`base` is the contract, `registry` names the kinds, one module holds each kind, with its kernels beside it.
"""

if __name__ != "vsearch.index":  # a second copy under another name would have classes of its own
    raise ImportError("import vsearch.index, not index: the folder is part of the package vsearch")
