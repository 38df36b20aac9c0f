"""The claims and disks of resources: who else uses them, who deletes them."""
