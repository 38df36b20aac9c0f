"""The whole story in one command: MariaDB on a ReadWriteOnce volume, five faults, and what the client saw."""
