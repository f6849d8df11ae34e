"""Bucket bounds of histograms whose durations can be long, in seconds.

Prometheus computes a quantile within one bucket: it is never farther from the true one than that bucket is
wide. So the ratio of two neighbouring bounds is the largest error, and a duration beyond the last bound reads
as that bound. Each set costs about 60 bytes a bound on the metrics page; use it for series with few labels.
"""

#: From a delivery at once to one after a day of retries. The next bound is at most 2.5 times the last one,
#: from five minutes to an hour 1.5 times, and from there to a day twice.
MILLISECONDS_TO_A_DAY = (
    *(0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 30, 60, 120),
    *(300, 450, 600, 900, 1_200, 1_800, 2_700, 3_600),
    *(7_200, 14_400, 28_800, 57_600, 86_400),
)
#: From a tap at once to an incident that stays open for a month. The next bound is at most three times the
#: last one, and from 15 s on about twice.
SECONDS_TO_A_MONTH = (
    *(5, 15, 30, 60, 120, 180, 300, 600, 900, 1_800, 3_600),
    *(7_200, 14_400, 28_800, 43_200, 86_400, 172_800, 345_600, 604_800, 1_209_600, 2_592_000),
)
