"""events in, windows, alarms and triggers out: the evaluator."""
