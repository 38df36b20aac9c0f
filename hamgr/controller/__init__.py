"""The designated controller's loop: observe, record, schedule, execute."""
