"""Dashboards, recording rules and alerts as code: `python -m grafana.source` writes what Prometheus and Grafana load.

In: the names of the exporter's metrics (exporter/publish/families.py; a test compares). Out, committed and kept fresh
by a test: grafana/dashboards/*.json, grafana/rules/*.yml and grafana/provisioning/alerting/rules.yml. An alert is
written once, in `queue_alerts` or `exporter_alerts`; `rules` and `managed` write it for Prometheus and for Grafana, so
that the two cannot drift. Nothing here runs when the exporter runs.

Two replicas of an exporter publish the same series with another `instance`: every expression takes the maximum over
instances before it adds anything up.
"""
