//! Stories of the HTTPS transport: two machines with `adit up`, a router between them that takes UDP away and gives it back.
//!
//! Needs root, nginx and openssl; fails without them.

mod carries;
mod front;
mod ladder;
mod moved;
mod scene;
