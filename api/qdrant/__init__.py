"""Qdrant's REST interface: its routes, bodies and answers, over our collections.

Field names: a collection with one unnamed vector has the field "". A search that names no field uses that one, or the
only one there is, so collections made through our own interface can be used as well.
"""
