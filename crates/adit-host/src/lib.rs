//! adit-host: see ARCHITECTURE.md.
