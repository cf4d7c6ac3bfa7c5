"""Models, dictionaries and text: the hub's, local folders, and the bundled ones, by one call."""
