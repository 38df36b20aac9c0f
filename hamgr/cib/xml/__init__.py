"""The CIB as XML, in Pacemaker's schema: reading and writing."""
