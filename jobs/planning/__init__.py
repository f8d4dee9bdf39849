"""`labelmill plan`: what one image costs on this machine, and what follows for a whole job."""
