"""One stage a module: Spark, Ray, Delta and MLflow. Never Prefect."""
