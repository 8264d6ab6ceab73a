"""Commands by audience, each thin: what one does lies in the module of its name."""
