"""One module a command: NAME, HELP, ``arguments(parser)`` and ``run(arguments) -> Answer``.

To add a command, write its module and add it to the list in ``memcore.cli``. A module imports what its work needs only
when it runs: ``memcore --help`` and ``memcore info`` need NumPy alone and start fast.
"""
