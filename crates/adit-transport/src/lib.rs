//! Outsides that look like something else: HTTPS, and the genuine web site that strangers see.

pub mod concealed;
pub mod config;
pub mod grpc;
pub mod shape;
pub mod tls;
pub mod token;
