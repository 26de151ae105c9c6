"""The semantic cache: answers of language models, kept in the same engine as the documents they were made from.

A lookup, from the prompt to the answer:

1. questions.py: the prompt is normalised; a digest of it and of its scope finds an exact match in a dictionary.
2. Otherwise its vector (given, or made by the embedder) decides its category, if the caller does not (classifier.py).
3. partition.py: the entries of one scope and one category have an index of their own, so that an entry can never answer
   for another scope. It gives the nearest few.
4. lookup.py: the best of them that is alive, similar enough for its category's policy (policy.py; load.py relaxes it
   under load, verified.py learns it), and not a look-alike (guards/), is read from the engine. Every other outcome has
   a reason.
5. economics.py counts what was found, what it saved and what was wrong.

A store: contents.py has what is kept in memory (columns of numbers, dictionaries, the partitions); records.py what is
on disk: prompts and answers are only there. Entries of too full categories give way, those of least value first
(eviction.py). sources.py knows which entries were made from which points: the write that changes a point removes them.
computing.py lets one caller compute what several ask for at the same time (flights.py).
"""
