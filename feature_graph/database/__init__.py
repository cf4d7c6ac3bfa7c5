"""Everything about Neo4j on the library's side; each folder is a public module of its own.

- ``connection``: how to reach a database, and the one function that opens drivers
- ``store``: an open connection, questions, Graph Data Science, runs (``store.connect()``)
- ``server``: the embedded Neo4j, which needs no Java and no Docker (``server.start()``)
- ``offline``: the embedded database while its server is stopped: filled at once, dumped, loaded, backed up
"""
