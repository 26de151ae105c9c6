"""The OpenAI-compatible front: a cache between OpenAI's clients and the server that computes their answers.

A request for a chat, from the client to its answer:

1. controls.py reads what its headers say about caching.
2. vsearch/integrations/chat.py makes the key: the last turn of the user is compared by similarity, everything else must
   be equal, and so must all else that goes upstream: upstream.py makes a digest of the query and the headers.
3. vectors.py has the embedding of that turn, if there is a model for it. An embedder that fails or is slow means that
   only the same prompt is found.
4. chat.py looks in the cache. A hit is answered at once, as a whole or as a stream (stream.py). Of several who miss the
   same at the same time one goes on, the others wait for its answer; if there will be none, each goes on for itself. A
   cache that somebody has deleted is opened again, or made anew (caches.py).
5. upstream.py passes the request on, unchanged. Its answer goes to the client as it comes, whatever it is. answers.py
   says whether it is kept; a stream is assembled beside (stream.py).

embeddings.py does the same with embeddings, each input for itself, by exact matches. All of it runs on the event loop;
what writes to the database, or opens a part of it, does so in a worker thread. Errors of ours have OpenAI's shape
(problems.py).
"""
