"""One stage a module: Spark, Ray, Delta and MLflow. Never Prefect."""

import os

# delta-rs has an allocator of its own, which reads this when it is loaded. By default each of its
# threads, up to a hundred, keeps a cache, and a process that commits for hours never gets it back.
os.environ.setdefault(
    "_RJEM_MALLOC_CONF",
    "tcache:false,narenas:2,dirty_decay_ms:1000,muzzy_decay_ms:0",
)
