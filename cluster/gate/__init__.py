"""The gate: what a new router must show before it becomes champion, and new labels before they
teach one."""
