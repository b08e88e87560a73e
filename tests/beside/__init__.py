"""Put fetchq beside curl and wget on odd servers made by chance: ``python -m tests.beside --help``."""
