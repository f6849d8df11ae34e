"""Alerts as episodes, and the incidents that people handle.

- `episodes`: `observe` compares a listed alert with the stored episode; pure.
- `incident`: `reduce` changes an incident by what is observed and by what people do; pure.
- `matchers`: matchers of labels, in Alertmanager's syntax; pure.
- `severity`: how urgent an alert's severity label is; pure.
- `store`: the SQL of incidents. `episode_store`: of episodes. `timeline`: of timelines.
- `throttles`: the times between two notifications with a sound; pure.
- `timers`: the SQL of timers: what is to be done with an incident later.
- `storms`: the SQL of storms: many incidents that open at once.
- `chunks`: splits long lists for statements; pure.
- `queries`: reads incidents for the API.
"""
