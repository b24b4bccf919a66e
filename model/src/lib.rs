//! Nothing but a place for `tests/model`: the operator and its nodes in a world in memory, see `docs/explanation/model.md`.
