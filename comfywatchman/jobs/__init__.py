"""The job agent: it runs the jobs described by files, each one once, on one or several hosts."""
