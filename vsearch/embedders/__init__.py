"""Embedders: what makes vectors of texts, for a cache that is asked with texts alone.

base.py has the protocol and an embedder of one's own function, openai.py one that asks an OpenAI-compatible endpoint,
and local.py one of a sentence-transformers model on this computer. They load what they need when they are used.
"""

from vsearch.embedders.base import CallableEmbedder, Embedder
from vsearch.embedders.local import SentenceTransformerEmbedder
from vsearch.embedders.openai import OpenAIEmbedder

__all__ = ["CallableEmbedder", "Embedder", "OpenAIEmbedder", "SentenceTransformerEmbedder"]
