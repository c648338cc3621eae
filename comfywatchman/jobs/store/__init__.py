"""The database of jobs, and its only user of SQL: leases, heartbeats, readiness of hosts, and changes by people."""
