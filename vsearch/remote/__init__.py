"""The client: the objects and errors of the embedded database, over HTTP.

    arguments ──> writes, reads, upkeep, databases, answers, caches ──> Call ──> protocol ──> httpx.Request
                                                                                    │              │
    results   <──────────────── Call.decode <───────────────────────────────────────┘  <── httpx.Response

1. A `Call` (call.py) is one request as a value: what is sent, and how the answer is read. A pure function for each
   operation makes it of the arguments of the embedded method of that name.
2. protocol.py turns a Call into an HTTP request, and an answer into a result or an error of ours. It does no I/O.
3. blocking.py, asynchronous.py and, for caches, cache.py bind every function to their classes in one line each, and do
   the I/O.
4. transport.py and async_transport.py speak HTTP/1.1 over connections that are kept (pool.py), with http1.py reading
   the answers. What they do not cover, TLS, proxies and streams, is httpx's.
"""
