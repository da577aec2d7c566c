"""Fuzzers of memcore: each makes inputs from seeds, and checks what memcore does with them.

    python -m fuzz                           all five, two minutes each (make fuzz)
    python -m fuzz images --seconds 600      one of them
    python -m fuzz --case images:7:1234      one case again, by the name that a failure was printed with
    python -m fuzz images FILE...            inputs from files

``docs/fuzzing.md`` says what each covers.
"""
