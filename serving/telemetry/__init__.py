"""What the service tells of itself: metrics, statistics, a line per request."""
