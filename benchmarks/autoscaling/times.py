"""How long things take on a cluster, and the values of the chart that decide when they happen.

Timestamps on a cluster gave the times (`python -m tests.e2e.curve`). None of them comes from the
curves that the simulation is compared with.
"""

from __future__ import annotations

#: Least, median and most of what was measured.
Range = tuple[float, float, float]

#: The chart's values: seconds between KEDA's looks, and of its cooldown; rows for a pod; rows that
#: wait on the queue at most.
POLL, COOLDOWN, SLOTS, WINDOW = 5.0, 30.0, 100, 10_000
#: The chart's values: by how many percent, and by how many, the HPA may add pods in so many
#: seconds, the larger counts; then the same for taking pods away.
UP_PERCENT, UP_PODS, UP_PERIOD = 1000, 20, 15.0
DOWN_PERCENT, DOWN_PODS, DOWN_PERIOD = 50, 2, 30.0
#: The chart's value: seconds for which the most that was wanted holds, before pods are taken away.
STABILIZATION = 60.0

#: Kubernetes' defaults: seconds between the HPA's looks, and how far the metric may be from the
#: target without effect (`--horizontal-pod-autoscaler-sync-period`, `…-tolerance`).
SYNC, TOLERANCE = 15.0, 0.1
#: Seconds by which the HPA's look is before what comes of it. It reads how many pods are wanted,
#: asks KEDA for the metric, and 7 to 26 ms after that the Deployment is seen to be told.
ACTS = 0.04

#: Down to NOTED all was taken on a node of two cores while other programs used less than one of
#: them, the rest with nothing else to do. Seconds from the apply of a Job to its first rows in
#: Redis; nine runs.
SUBMIT: Range = (1.16, 1.29, 1.47)
#: Seconds from the creation of a pod to its first call, rows waiting, a core to itself; ten pods.
FIRST_CALL: Range = (1.58, 1.73, 2.21)
#: Of those, seconds of CPU: until its health file is there, and from then on. By cgroup it has
#: used 1.22 when it makes its first call; kubelet, containerd and runc use 0.35 more than at rest.
#: Its first line in the log, which comes with that file, is at 1.05 of 1.71 seconds.
HEALTHY_CPU, SERVING_CPU = 0.91, 0.66
#: How many times as much CPU the same takes while more starts than there are cores. Of pods that
#: have nothing to do and start at once on two cores, one takes 1.60 s without the probe's looks,
#: four 1.88 each, eight 2.14: 1.18 and 1.34 times as much. Three times each.
CROWDED = 1.25
#: Seconds from the creation of a pod until its container runs and the startup probe looks for the
#: first time; the chart's value: between its looks; and from such a look until the pod is seen
#: to be ready. What a look takes of a core: four a second take 0.14.
RUNNING: Range = (0.48, 0.51, 0.64)
PROBE = 2.0
NOTED: Range = (0.02, 0.40, 0.77)
PROBE_CPU = 0.035
#: Seconds from the end of a call to the next one in the same slot, the mean of 1,800 calls; and
#: what a row takes of the cores, the model's stand-in and the servers with it.
BETWEEN = 0.09
ROW_CPU = 0.006
#: Seconds from SIGTERM until a pod that runs no row is gone, and of those, CPU; alone, three pods.
STOP: Range = (1.6, 1.7, 1.8)
STOP_CPU = 0.52

#: Rows that are fed at once (`RECORD_CHUNK`), and recorded a second (`make bench ARGS=submit`);
#: seconds between two looks of who feeds (docs/explanation/architecture.md).
CHUNK, RECORDED, FEED = 1_000, 18_000.0, 1.0
