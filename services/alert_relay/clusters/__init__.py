"""Clusters of Alertmanagers: peers that share silences and notification logs, so that each may post an alert.

- `cluster`: a cluster as a value (pure).
- `configuration`: the clusters of the settings (pure).
- `store`: the rows of clusters; the lock that serialises the webhooks of a cluster.
- `membership`: joins an external URL to a cluster, with what is open under it.
"""
