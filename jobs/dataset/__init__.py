"""The output of a job: where its files are, its columns, and how they are read and written."""
