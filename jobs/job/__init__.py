"""What is asked for (`JobSpec`) → what will be done (`Job`)."""
