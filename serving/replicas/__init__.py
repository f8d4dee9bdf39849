"""What the replicas of one service share: which models are loaded, and the statistics."""
