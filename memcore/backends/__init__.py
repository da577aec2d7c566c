"""The implementations behind the public functions: one interface, three ways to run it."""
