"""The Grafana dashboards as code: typed panels in, classic JSON (schema version 42) out."""
