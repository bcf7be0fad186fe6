/** The demo: a failover between ordinary processes, measured from outside. */
