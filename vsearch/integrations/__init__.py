"""The cache behind other people's interfaces: chat completions, LangChain, LiteLLM.

Each module has one: chat.py says what of a chat request is compared by similarity and what must be equal (the server's
front uses it too), langchain.py and litellm.py are caches as these libraries call them.
"""
