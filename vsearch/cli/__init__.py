"""The command line: `app` declares the commands, the other modules do what they say.

Only this folder, and the demo, write to the terminal. What loads the engine or the kernels is imported inside the
commands, so that `vsearch --help` is quick.
"""
