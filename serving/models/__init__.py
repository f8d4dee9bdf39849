"""The models of one replica: loaded, batched, predicted with."""
