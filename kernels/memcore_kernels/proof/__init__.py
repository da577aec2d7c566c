"""What is compiled and checked without a GPU: every configuration, its machine code, and lower bounds on its time.

Nothing in here runs in an audit. ``compiled_cases`` lists the launches, ``machine_code`` compiles and counts, ``roofline``
bounds the time from those counts, and ``digest`` names what a compiled kernel depends on.
"""
