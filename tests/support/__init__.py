"""What several test files need: small models, runs, servers and comparisons. No module here is a test."""
