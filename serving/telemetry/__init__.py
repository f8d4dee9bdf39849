"""What the service reports about itself: metrics, statistics, an access log."""
