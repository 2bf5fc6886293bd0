"""A DICOM node: it receives MR studies, queues them on disk, translates them, and sends the results on.

`configuration` is what it is told, `spool` the folders that survive a crash, `pipeline` the way of a job through them,
`receiver` and `sender` its two ends in the network, `inference` the child that translates, `service` the whole.
"""
