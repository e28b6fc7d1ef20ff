"""The two databases: `monitor.db` (one writer) and `control.db` (several), SQLite or PostgreSQL."""
