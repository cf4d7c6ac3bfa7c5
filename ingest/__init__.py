"""Write a finished run into Neo4j: file formats, graph schema, loading, cleaning up."""
