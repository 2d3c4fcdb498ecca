//! The device as others see it: one test a rule, an independent other end, and two-party properties, in virtual time.
//!
//! One binary for all, so that it is linked once. `coverage` says which rule of the behaviour list (W-01 to W-123) is
//! tested by which test; `world` is what the stories happen in.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that goes wrong shall stop")]

mod coverage;
mod model;
mod oracle;
mod spec;
mod story;
mod vectors;
mod world;
