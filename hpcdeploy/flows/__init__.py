"""One verb, one file, one page each: the only place where back ends meet."""
