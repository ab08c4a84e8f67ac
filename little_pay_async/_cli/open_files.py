"""The process's limit on open files: a command line tool may raise it, a library never does."""


def raise_limit() -> int | None:
    """Raise the soft limit to the hard one; return what it is then, None if there is none."""
    try:
        import resource  # noqa: PLC0415 - not on Windows
    except ImportError:  # pragma: no cover
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (ValueError, OSError):  # pragma: no cover - macOS calls infinite what is not
            return soft
        soft = hard
    return None if soft == resource.RLIM_INFINITY else soft
