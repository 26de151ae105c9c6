"""The HTTP server over an open database."""

if __name__ != "vsearch.api":  # a second copy under another name would have classes of its own
    raise ImportError("import vsearch.api, not api: the folder is part of the package vsearch")
