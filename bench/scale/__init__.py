"""Scale: how costs grow with directives, models, grants, callers, bodies and workers; each of them should be flat or linear."""
