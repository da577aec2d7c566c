"""The former name of ``proof.machine_code``."""

from memcore_kernels.proof.machine_code import main

if __name__ == "__main__":
    main()
