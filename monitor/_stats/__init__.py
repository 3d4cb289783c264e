"""What stands behind ``monitor.stats``: reading of series, one patient's line, cohorts, the table of trends."""
