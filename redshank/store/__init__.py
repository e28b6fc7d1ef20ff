"""The databases behind URLs: monitor.db and control.db, or PostgreSQL; the only home of SQL here."""
