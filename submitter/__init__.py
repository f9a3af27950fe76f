"""Program 1: the `rowfleet` command line. It reads sheets, feeds the queue, watches and exports."""
