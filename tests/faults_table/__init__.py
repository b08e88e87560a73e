"""Meet fetchq and others with faults, one at a time: ``python -m tests.faults_table --help``."""
