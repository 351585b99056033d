"""The log: topics, partitions and offsets, on Kafka or in one SQLite file."""
