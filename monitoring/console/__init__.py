"""The console: pages of the evaluator for people without Grafana, and the decisions they take."""
