"""The implementations of the public functions: one interface, three ways to run it."""
