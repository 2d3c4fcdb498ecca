//! The chores of the adit repository.
fn main() {}
