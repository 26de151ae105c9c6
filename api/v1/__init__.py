"""Our own interface: the calls of our Collection, one route each, in MessagePack or JSON.

Names, meanings and results are those of the embedded database. `vsearch.connect` speaks it.
"""
