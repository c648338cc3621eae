"""What `gov check` and the readiness report say of the governed environment: facts are read, then judged."""
