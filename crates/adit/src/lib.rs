//! adit: see ARCHITECTURE.md.
