"""What the replicas of one service agree on: which models are loaded."""
