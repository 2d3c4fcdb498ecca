//! adit-lab: see ARCHITECTURE.md.
