//! Development placeholder; replaced below.
pub mod address;
pub mod config;
